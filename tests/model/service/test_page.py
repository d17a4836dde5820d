"""The page in a real browser. HETERREC_SCREENSHOTS=FOLDER keeps pictures."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browser, running_browser
from running_service import Running
from stub_bundle import StubRecommender

from heterrec_model.service.page import page

pytestmark = pytest.mark.browser
ITEMS = "Array.from(document.querySelectorAll('#answer .name'), e => e.firstChild.textContent)"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with running_browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def opened(browser: Browser, running: Running, width: int = 1280, dark: bool = False) -> None:
    address = f"http://{running.host}:{running.port}/"
    browser.open(address, width, 900, dark=dark)
    browser.wait("document.getElementById('source').textContent.includes('checkpoint')")


def picture(browser: Browser, name: str) -> None:
    if folder := os.environ.get("HETERREC_SCREENSHOTS"):
        browser.screenshot(Path(folder) / f"{name}.png")


def submit(browser: Browser) -> None:
    browser.value("document.getElementById('summary').textContent = ''")
    browser.value("document.getElementById('error').textContent = ''")
    browser.press("#go")
    browser.wait("document.getElementById('summary').textContent + error.textContent !== ''")


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (360, True)])
def test_a_users_recommendations_in_words(
    browser: Browser, running: Running, bundle: Path, width: int, dark: bool
) -> None:
    opened(browser, running, width, dark)
    browser.type("#user", "3")
    submit(browser)
    [wanted] = StubRecommender(bundle).recommend([3])
    assert browser.value(ITEMS) == wanted.item_ids
    shown = browser.value("document.querySelector('#answer li').innerText")
    assert "colour" in shown
    assert "food > " in shown
    assert browser.value("document.querySelectorAll('#history li').length") == 6
    assert "buy, 1970-01-01 00:00 UTC" in browser.value(
        "document.getElementById('history').innerText"
    )
    assert browser.value("document.documentElement.scrollWidth") <= width
    dim = browser.value("getComputedStyle(document.body).backgroundColor")
    assert (int(dim.split("(")[1].split(",")[0]) < 60) == dark
    picture(browser, f"user-{width}-{'dark' if dark else 'light'}")


def test_a_random_user(browser: Browser, running: Running) -> None:
    opened(browser, running)
    browser.press("#random")
    browser.wait("document.querySelectorAll('#answer li').length === 10")
    assert int(browser.value("document.getElementById('user').value")) in range(1, 31)


def test_a_cold_user_a_filter_and_unknown_items(browser: Browser, running: Running) -> None:
    opened(browser, running)
    browser.type("#user", "5000")
    submit(browser)
    note = browser.value("document.getElementById('note').textContent")
    assert "no history here" in note
    assert "popular with everybody" in note
    browser.press("#mode-items")
    browser.type("#items", "i3\nnothing")
    browser.value(
        "feature.value = 'colour'; feature.dispatchEvent(new Event('change')); value.value = 'red'"
    )
    browser.press("#seen")
    submit(browser)
    assert "No such items: nothing." in browser.value("document.getElementById('note').textContent")
    colours = browser.value(
        "Array.from(document.querySelectorAll('#answer dl dd:first-of-type'), e => e.textContent)"
    )
    assert set(colours) == {"red"}
    assert "i3" not in browser.value(ITEMS)
    picture(browser, "items")


def test_similar_items_and_a_mistake(browser: Browser, running: Running, bundle: Path) -> None:
    opened(browser, running)
    browser.press("#mode-similar")
    browser.type("#items", "i1")
    submit(browser)
    [wanted] = StubRecommender(bundle).similar(["i1"])
    assert browser.value(ITEMS) == wanted.item_ids
    browser.type("#items", "i1000")
    submit(browser)
    assert "'i1000' is not in the catalogue" in browser.value(
        "document.getElementById('error').innerText"
    )
    assert browser.value(ITEMS) == []
    picture(browser, "mistake")


def test_everybody_can_use_it(browser: Browser, running: Running) -> None:
    """Every field has a name and a size for fingers, and the keyboard suffices."""
    opened(browser, running, 360)
    unnamed = "Array.from(document.querySelectorAll('input, select, textarea')).filter(e => !e.labels.length)"
    assert browser.value(f"{unnamed}.length") == 0
    small = "Array.from(document.querySelectorAll('button')).filter(e => e.offsetHeight && e.offsetHeight < 44)"
    assert browser.value(f"{small}.length") == 0
    tree = browser.call("Accessibility.getFullAXTree")["nodes"]
    controls = {"button", "textbox", "combobox", "radio", "checkbox", "spinbutton"}
    nodes = [n for n in tree if n.get("role", {}).get("value") in controls and not n["ignored"]]
    assert len(nodes) >= 8
    assert [n for n in nodes if not n["name"]["value"]] == []
    browser.type("#user", "3")
    key = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}
    browser.call("Input.dispatchKeyEvent", type="keyDown", **key)
    browser.wait("document.querySelectorAll('#answer li').length === 10")


def test_nothing_is_blocked_or_fetched_from_elsewhere(browser: Browser, running: Running) -> None:
    opened(browser, running)
    problems = [
        event
        for event in browser.events
        if event.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown")
        and "422" not in str(event)
    ]
    assert problems == []
    asked = [
        e["params"]["request"]["url"]
        for e in browser.events
        if e.get("method") == "Network.requestWillBeSent"
    ]
    assert asked
    here = (f"http://{running.host}:{running.port}/", "data:", "about:")
    assert [url for url in asked if not url.startswith(here)] == []


def test_the_page_is_one_file() -> None:
    text = page().decode("utf-8")
    assert "http://" not in text
    assert "https://" not in text
    assert "innerHTML" not in text
