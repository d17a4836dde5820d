"""What `heterrec_model` offers by itself, and that asking for nothing imports nothing heavy."""

import subprocess
import sys

import pytest

import heterrec_model

NAMES = {
    "BundleRecommender",
    "Config",
    "HeterRec",
    "History",
    "Recommender",
    "TokenTable",
    "build_model",
    "evaluate",
    "export",
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


def test_names_are_what_they_say_and_import_on_first_use() -> None:
    code = f"""
import sys, heterrec_model
assert "torch" not in sys.modules
for name in {sorted(NAMES)}:
    found = getattr(heterrec_model, name)
    assert callable(found) and found.__name__ == name, name
assert not [m for m in sys.modules if m.startswith("apache_beam")]
"""
    subprocess.run([sys.executable, "-c", code], check=True)
