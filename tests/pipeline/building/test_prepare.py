"""The ids of generations sort by time, whichever clocks they come from."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from corner_shop import Shop

from heterrec_pipeline.building import BuildConfig
from heterrec_pipeline.building.prepare import make_job
from heterrec_schemas.feature_spec import parse_spec

BEHIND = datetime(2001, 2, 3, tzinfo=UTC)


def job_id(shop: Shop, *, refresh: bool) -> str:
    """The id of a generation that is begun by a clock that is years behind."""
    text, output = shop.spec_path.read_text(), str(shop.output)
    config = BuildConfig(
        parse_spec(text), text, str(shop.input), output, base=output if refresh else None
    )
    return make_job(config, BEHIND).generation


@pytest.mark.parametrize("refresh", [False, True])
def test_a_clock_that_is_behind_makes_no_older_generation(shop: Shop, refresh: bool) -> None:
    assert job_id(shop, refresh=refresh) > shop.latest()


@pytest.mark.parametrize("name", ["99999999T999999999Z-00000000", "99991231T235959999Z-00000000"])
def test_a_name_that_is_no_time_does_not_matter(shop: Shop, name: str) -> None:
    (shop.output / "latest.json").write_text(f'{{"generation": "{name}"}}')
    assert job_id(shop, refresh=False).startswith("20010203T")


def test_a_first_generation_has_the_time_of_the_clock(shop: Shop, tmp_path: Path) -> None:
    shop.output = tmp_path / "new"
    assert job_id(shop, refresh=False).startswith("20010203T000000000Z-")
