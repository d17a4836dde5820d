"""Checks of a page that is one file, in a real browser. HETERREC_SCREENSHOTS=FOLDER keeps pictures."""

import os
from pathlib import Path

from browser import Browser

WIDTHS = (400, 1280)
_CHARTS = """Array.from(document.querySelectorAll('svg[role=img]'), e => ({
    width: e.getBoundingClientRect().width,
    height: e.getBoundingClientRect().height,
    words: e.getAttribute('aria-label') || '',
    paths: Array.from(e.querySelectorAll('path')).filter(p => !p.closest('defs, clipPath') && p.getTotalLength() > 0).length,
}))"""


def check_page(browser: Browser, path: Path, *, charts: int) -> None:
    """Assert that a page shows its charts and asks for nothing else, at two widths, light and dark.

    Args:
        browser: a browser.
        path: of the page.
        charts: minimum number of charts.
    """
    for width in WIDTHS:
        for dark in (False, True):
            browser.events.clear()
            browser.open(path.resolve().as_uri(), width, 900, dark=dark)
            _check_charts(browser, charts)
            assert browser.value("document.documentElement.scrollWidth") <= width
            ground = browser.value("getComputedStyle(document.body).backgroundColor")
            assert (int(ground.split("(")[1].split(",")[0]) < 60) == dark
            _check_requests(browser, path)
            _keep_picture(browser, f"{path.stem}-{width}-{'dark' if dark else 'light'}")


def _check_charts(browser: Browser, charts: int) -> None:
    found = browser.value(_CHARTS)
    assert len(found) >= charts
    for chart in found:
        assert chart["width"] > 0, chart
        assert chart["height"] > 0, chart
        assert len(chart["words"]) > 20, chart
        assert chart["paths"] > 0, chart


def _check_requests(browser: Browser, path: Path) -> None:
    """The page is the only request, and the browser reports no problem."""
    asked = [
        event["params"]["request"]["url"]
        for event in browser.events
        if event.get("method") == "Network.requestWillBeSent"
    ]
    assert [url for url in asked if not url.startswith("data:")] == [path.resolve().as_uri()]
    problems = [
        event
        for event in browser.events
        if event.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown")
    ]
    assert problems == []


def _keep_picture(browser: Browser, name: str) -> None:
    if folder := os.environ.get("HETERREC_SCREENSHOTS"):
        browser.screenshot(Path(folder) / f"{name}.png")
