"""The ablations by name: settings, and what they refuse."""

import pytest

from heterrec_model.config import ABLATIONS, Config, ablated, parse_config
from heterrec_schemas.errors import CallError

WHOLE = parse_config(
    {
        "model": {
            "token_blocks": 2,
            "item_blocks": 3,
            "token_heads": True,
            "frozen": {"title": {"files": "x"}},
        }
    },
    "here",
)
NO_HEADS = {"token_heads": False}


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        (
            "htfl",
            {
                "model": {"token_blocks": 0, "item_blocks": 5} | NO_HEADS,
                "loss": {"token_weight": 0.0},
            },
        ),
        ("mfk", {}),
        ("hct", {"model": {"token_blocks": 5, "item_blocks": 0}}),
        ("lmp", {"model": NO_HEADS, "loss": {"gate": False, "token_weight": 0.0}}),
        ("token_lmp", {"model": NO_HEADS, "loss": {"token_weight": 0.0}}),
        ("gate", {"loss": {"gate": False}}),
    ],
)
def test_an_ablation_changes_settings_only(
    name: str, changed: dict[str, dict[str, object]]
) -> None:
    expected = WHOLE.model_dump()
    for section, settings in changed.items():
        expected[section] |= settings
    assert ablated(WHOLE, name).model_dump() == expected


def test_every_ablation_is_refused_where_there_is_nothing_to_leave_out() -> None:
    for name in ABLATIONS:
        with pytest.raises(CallError, match=r"changes nothing: .* has|Name the files"):
            ablated(Config() if name == "mfk" else ablated(WHOLE, name), name)


def test_mistakes_are_reported() -> None:
    with pytest.raises(CallError, match=r"no ablation 'lpm'. Did you mean 'lmp'"):
        ablated(WHOLE, "lpm")
    other = parse_config({"model": {"name": "sasrec"}}, "here")
    with pytest.raises(CallError, match=r"--ablate gate: got the model sasrec, expected heterrec"):
        ablated(other, "gate")
