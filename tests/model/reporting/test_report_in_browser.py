"""The page of a run in a real browser. HETERREC_SCREENSHOTS=FOLDER keeps pictures."""

from pathlib import Path

import pytest
from browser import running_browser
from browser_pages import check_page

pytest.importorskip("matplotlib", reason="needs the report extra")

from heterrec_model.reporting.measured import Wanted
from heterrec_model.reporting.report import write_report

pytestmark = pytest.mark.browser


def test_every_chart_is_drawn_and_nothing_is_fetched(
    run: Path, shop_data: Path, tmp_path: Path
) -> None:
    page = write_report(
        run, shop_data, tmp_path / "run.html", wanted=Wanted(baselines=("popular",))
    )
    with running_browser(tmp_path / "profile") as browser:
        check_page(browser, page, charts=11)
