import json
from collections.abc import Callable
from pathlib import Path

import pytest

from heterrec_schemas.errors import (
    CorruptGenerationError,
    GenerationError,
    UnfinishedGenerationError,
)
from heterrec_schemas.generation.find_generation import find_generation

ID = "20240101T000000000Z-00000000"
Copy = Callable[[], Path]


@pytest.mark.parametrize("form", ["{}", "file://{}", "{}/"])
def test_an_output_folder_means_its_latest_generation(output: Path, form: str) -> None:
    found = find_generation(form.format(output))
    assert found.name == f"{form.format(output).rstrip('/')}/generations/{ID}"
    assert find_generation(found.name).path == found.path


def test_a_folder_that_is_not_there(output: Path) -> None:
    with pytest.raises(GenerationError, match=r"there is no folder .*/nowhere\. Check the path"):
        find_generation(output / "nowhere")


def test_a_misspelt_generation_is_named(output: Path) -> None:
    with pytest.raises(GenerationError, match=f"Did you mean '{ID}'"):
        find_generation(output / "generations" / ID.replace("2024", "2042"))


def test_a_file_is_no_generation(output: Path) -> None:
    with pytest.raises(GenerationError, match=r"latest\.json is a file: expected an output folder"):
        find_generation(output / "latest.json")


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(GenerationError, match="holds no generation") as caught:
        find_generation(tmp_path)
    assert type(caught.value) is GenerationError


def test_a_generation_without_a_manifest_is_unfinished(copied: Copy) -> None:
    root = copied()
    (root / "manifest.json").unlink()
    for path in (root, root.parents[1]):
        with pytest.raises(UnfinishedGenerationError, match=f"{ID} has no manifest.json"):
            find_generation(path)


def test_an_empty_folder_among_generations_is_unfinished(tmp_path: Path) -> None:
    (tmp_path / "generations" / ID).mkdir(parents=True)
    with pytest.raises(UnfinishedGenerationError, match=f"{ID} has no manifest.json"):
        find_generation(tmp_path / "generations" / ID)


def test_an_output_without_a_latest_names_the_finished_generation(copied: Copy) -> None:
    root = copied()
    (root.parents[1] / "latest.json").unlink()
    with pytest.raises(GenerationError, match="no generation is published") as caught:
        find_generation(root.parents[1])
    assert not isinstance(caught.value, UnfinishedGenerationError)
    assert f"Open one by its own folder: {root}" in caught.value.message


@pytest.mark.parametrize("begun", [True, False])
def test_an_output_without_any_finished_generation_is_unfinished(
    tmp_path: Path, begun: bool
) -> None:
    (tmp_path / "generations" / (ID if begun else "")).mkdir(parents=True)
    with pytest.raises(UnfinishedGenerationError, match=f"got {int(begun)} without manifest.json"):
        find_generation(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        "\xff",
        '{"generation": 3}',
        '{"generation": ""}',
        '{"generation": ".."}',
        '{"generation": "../../elsewhere"}',
    ],
)
def test_a_damaged_latest_is_refused(copied: Copy, text: str) -> None:
    output = copied().parents[1]
    (output / "latest.json").write_text(text, encoding="latin-1")
    with pytest.raises(CorruptGenerationError, match=r"latest\.json names no generation"):
        find_generation(output)


def test_a_latest_of_a_generation_that_is_gone(copied: Copy) -> None:
    output = copied().parents[1]
    gone = ID.replace("00000000", "00000009")
    (output / "latest.json").write_text(json.dumps({"generation": gone}))
    with pytest.raises(
        GenerationError, match=f"names {gone}, which has no folder.*Did you mean '{ID}'"
    ):
        find_generation(output)
