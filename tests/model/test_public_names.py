"""What `heterrec_model` offers by itself, and that asking for nothing imports nothing heavy."""

import subprocess
import sys

import pytest

import heterrec_model

NAMES = {
    "Config",
    "HeterRec",
    "TokenTable",
    "build_model",
    "evaluate",
    "load_config",
    "load_run",
    "open_token_table",
    "recommend",
    "train",
}


def test_the_public_names() -> None:
    assert set(dir(heterrec_model)) == set(heterrec_model.__all__) == NAMES
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        heterrec_model.trian  # noqa: B018


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_name_is_what_it_says_in_a_fresh_process(name: str) -> None:
    code = (
        f"import sys, heterrec_model; assert 'torch' not in sys.modules; "
        f"from heterrec_model import {name}; assert callable({name}), {name}; "
        f"assert heterrec_model.{name} is {name}; assert {name}.__name__ == '{name}'; "
        f"assert not [m for m in sys.modules if m.startswith('apache_beam')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
