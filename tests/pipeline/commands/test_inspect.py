import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from heterrec_pipeline.commands.generation_display import run_inspect
from heterrec_schemas import Generation, open_generation
from heterrec_schemas.errors import CallError, CorruptGenerationError
from heterrec_schemas.generation import item_in_words, overview, user_in_words
from heterrec_schemas.testing import Settings, small_generation


@pytest.fixture(scope="module")
def generation(tmp_path_factory: pytest.TempPathFactory) -> Generation:
    settings = Settings(split="temporal", train_windows="all", unknown_items="oov", max_length=5)
    return open_generation(
        small_generation(tmp_path_factory.mktemp("output"), 0, settings=settings)
    )


def shown(path: str, **options: Any) -> str:
    """The output on a wide terminal."""
    text = io.StringIO()
    run_inspect(path, console=Console(file=text, width=300, force_terminal=False), **options)
    return text.getvalue()


def row_of(text: str, first: str) -> list[str]:
    """The cells of the table row with the given first cell."""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("│").split("│")]
        if len(cells) > 1 and cells[0] == first:
            return cells
    raise AssertionError(f"no row {first!r} in\n{text}")


def test_an_overview_for_people(generation: Generation) -> None:
    text = shown(generation.root)
    entries = {f.name: f for f in generation.manifest.features}
    assert generation.manifest.generation in text
    brand = row_of(text, "brand")
    assert brand[1:3] == ["item", "categorical"]
    assert brand[3] == f"{entries['brand'].vocabulary_size} ids"
    assert brand[4] == f"{entries['brand'].missing} ({entries['brand'].missing / 60:.1%})"
    assert row_of(text, "path")[2] == "categorical, multivalued"
    assert row_of(text, "look")[3] == "4 groups of 83 ids"
    assert row_of(text, "items/items")[1:3] == ["2", "60"]
    assert row_of(text, "items/items")[4:] == ["30", "1"]
    assert "read 800, kept" in row_of(text, "interactions")[1]
    assert "nothing was rejected" in text
    cuts = overview(generation)["cuts"]
    assert f"test_at        {cuts['test_at_ms']['utc']}" in text


def test_an_item_for_people(generation: Generation) -> None:
    key = generation.items(["item_id"])["item_id"][0].as_py()
    text = shown(generation.root, item=key)
    words = item_in_words(generation, key)
    assert row_of(text, "price")[3] == words["features"]["price"]["words"]
    assert row_of(text, "look")[2] == " ".join(map(str, words["features"]["look"]["tokens"]))
    assert "features" in text
    assert "sequences/" not in text


def test_a_user_for_people(generation: Generation) -> None:
    row = generation.sequences("test").to_pylist()[0]
    text = shown(generation.root, user=row["user_id"])
    words = user_in_words(generation, row["user_id"])
    target = words["splits"]["test"][0]["targets"][0]
    cells = row_of(text[text.index("\ntest") :], "target")
    assert cells[1:4] == [target["time"], target["behaviour"], target["item_id"]]
    assert "train, window 0" in text
    assert text.index("train") < text.index("validation") < text.index("latest")


def test_an_item_outside_the_catalogue_is_told(generation: Generation) -> None:
    latest = generation.sequences("latest").to_pylist()
    first = generation.spec.first_item_index
    user = next(r["user_id"] for r in latest if min(r["item_index"]) < first)
    assert "(out of vocabulary, bucket" in shown(generation.root, user=user)


def test_scripts_get_json(generation: Generation, capsys: pytest.CaptureFixture[str]) -> None:
    key = generation.items(["item_id"])["item_id"][0].as_py()
    user = generation.sequences("test")["user_id"][0].as_py()
    assert shown(generation.root, as_json=True) == ""
    assert json.loads(capsys.readouterr().out) == {"overview": overview(generation)}
    shown(generation.root, item=key, user=user, as_json=True)
    both = json.loads(capsys.readouterr().out)
    assert both == {
        "item": item_in_words(generation, key),
        "user": user_in_words(generation, user),
    }


def test_what_is_not_there_is_refused(generation: Generation) -> None:
    with pytest.raises(CallError, match="there is no item 'nothing'"):
        shown(generation.root, item="nothing")
    with pytest.raises(CallError, match="there is no user ''"):
        shown(generation.root, user="")


def test_hashes_are_compared_unless_told_not_to(tmp_path: Path) -> None:
    root = small_generation(tmp_path, 0)
    path = root / "statistics.json"
    path.write_text(path.read_text().replace("{", "["))
    with pytest.raises(CorruptGenerationError, match=r"statistics\.json: got SHA-256"):
        shown(str(tmp_path))
    assert "categorical" in shown(str(tmp_path), verify=False)


def test_the_data_cannot_steer_a_terminal(
    generation: Generation, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = item_in_words(generation, generation.items(["item_id"])["item_id"][0].as_py())
    part["item_id"] = "\x1b[31mred[/bold]"
    part["features"]["brand"]["words"] = "[link=x]\x07"
    monkeypatch.setattr(
        "heterrec_pipeline.commands.generation_display.item_in_words", lambda *_: part
    )
    text = shown(generation.root, item="x")
    assert r"\x1b[31mred[/bold]" in text
    assert row_of(text, "brand")[3] == r"[link=x]\x07"
