"""The functions of the package in other programs, and the code of docs/in_a_program.md."""

import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from corner_shop import Shop

import heterrec_pipeline
from heterrec_pipeline import api, build, validate
from heterrec_schemas.errors import CallError, SpecError

PAGE = Path(__file__).parents[2] / "docs" / "in_a_program.md"
NAMES = {"BuildResult", "Plan", "Validation", "build", "plan", "refresh", "validate"}


def test_the_public_names_import_beam_on_first_use() -> None:
    assert set(dir(heterrec_pipeline)) == set(heterrec_pipeline.__all__) == NAMES
    with pytest.raises(AttributeError, match="has no attribute 'biuld'"):
        heterrec_pipeline.biuld  # noqa: B018
    assert all(getattr(heterrec_pipeline, name).__name__ == name for name in NAMES)
    code = "import sys, heterrec_pipeline; assert 'apache_beam' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_all_arguments_are_given_by_name_and_documented() -> None:
    for name in NAMES - {"BuildResult", "Plan", "Validation"}:
        function = getattr(heterrec_pipeline, name)
        parameters = inspect.signature(function).parameters.values()
        assert {p.kind for p in parameters} == {inspect.Parameter.KEYWORD_ONLY}
        assert all(f"        {p.name}: " in function.__doc__ for p in parameters)


def test_the_code_of_the_page_runs(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(shop.folder)
    shop.input.rename("data")
    found: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL):
        exec(block, found)
    assert found["generation"].manifest.counts.interactions.kept == 200
    assert found["found"].mistakes == []
    assert found["expected"].bytes_out > 0
    assert found["result"].skipped
    assert found["retry"] is False
    assert "there is no input folder" in capsys.readouterr().out


def test_the_arguments_of_a_build_reach_it(shop: Shop, tmp_path: Path) -> None:
    events: list[str] = []
    shop.spec["interactions"]["source"]["where"] = "event = '{event}'"
    result = build(
        spec=shop.spec,
        input=shop.input,
        output=tmp_path / "out",
        workers=1,
        profile=tmp_path / "trace.json",
        params={"event": "buy"},
        on_event=lambda event, **fields: events.append(event),
    )
    assert result.manifest.counts.interactions.kept == 50
    assert events[0] == "begin"
    assert "stage" in events
    assert (tmp_path / "trace.json").stat().st_size > 1000


def test_errors_are_exceptions(shop: Shop, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"there is no spec file nowhere\.yaml"):
        build(spec="nowhere.yaml", input=shop.input, output=tmp_path)
    with pytest.raises(SpecError, match=r"a value that YAML has no type for: got .*Path"):
        build(spec=shop.spec | {"name": Path("a")}, input=shop.input, output=tmp_path)
    with pytest.raises(CallError, match="there is no runner 'nope'"):
        build(spec=shop.spec, input=shop.input, output=tmp_path, runner="nope")
    with pytest.raises(TypeError):
        build(shop.spec, shop.input, tmp_path)  # type: ignore[misc]
    found = validate(spec=shop.spec | {"nmae": "corner"}, input=shop.input)
    assert found.mistakes == ["nmae: unknown key. Did you mean 'name'?"]
    assert list(tmp_path.iterdir()) == [shop.folder]


def test_paths_may_have_the_scheme_of_files(shop: Shop, tmp_path: Path) -> None:
    path = tmp_path / "of shop.yaml"
    path.write_text(yaml.safe_dump(shop.spec))
    found = validate(spec=path.as_uri(), input=shop.input.as_uri())
    assert found.mistakes == []
    config = api._config(path.as_uri(), shop.input.as_uri(), "o", None, None, None, (), None)
    assert (config.input, config.output) == (str(shop.input), "o")
