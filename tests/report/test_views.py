"""Each view of the page in a real browser: nothing asked for, nothing complained of, open to everybody."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.report.conftest import render

VIEWS = {
    "light": ("", {}),
    "dark": ("", {"color_scheme": "dark"}),
    "phone": ("", {"viewport": {"width": 390, "height": 844}}),
    "sheet": ("?sheet", {}),
    "answers": ("?sheet=answers", {}),
    "print": ("", {}),
}


def open_all(page) -> None:
    page.evaluate("document.querySelectorAll('details:not(.explorer)').forEach((one) => { one.open = true; })")


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_is_accessible_and_silent(show, finished: Path, view: str):
    address, settings = VIEWS[view]
    page = show(finished, address, **settings)
    if view == "print":
        page.emulate_media(media="print")
    open_all(page)
    found = Axe().run(page).response["violations"]
    assert [rule["id"] for rule in found if rule["impact"] in ("serious", "critical")] == []
    assert page.problems == []
    assert [url for url in page.asked if not url.startswith(("data:", "about:"))] == [finished.as_uri() + address]


def test_it_is_small_and_ready_within_a_second(show, finished: Path):
    assert finished.stat().st_size < 2_000_000
    page = show(finished)
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        page.reload()
        page.wait_for_selector("html[data-ready]", state="attached")
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 1


@pytest.mark.parametrize("width", [320, 390, 1440])
def test_nothing_makes_the_page_wider_than_its_window(show, finished: Path, width: int):
    page = show(finished, viewport={"width": width, "height": 800})
    open_all(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_headings_go_down_one_level_at_a_time(show, finished: Path):
    levels = show(finished).eval_on_selector_all(
        "header h1, main > section:not(#worksheet) :is(h2, h3, h4)", "(all) => all.map((one) => Number(one.tagName[1]))"
    )
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert levels.count(1) == 1


def test_the_keyboard_reaches_the_answers_first_and_shows_where_it_is(show, finished: Path):
    page = show(finished)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the answers"
    assert page.locator(".skip").bounding_box()["width"] > 100
    page.keyboard.press("Enter")
    assert page.url.endswith("#main")


def test_the_explorer_opens_within_the_page_and_is_not_loaded_before(show, finished: Path):
    page = show(finished)
    assert page.frames[-1].query_selector("html[data-ready]") is None or len(page.frames) == 1
    page.click("details.explorer summary")
    page.frame_locator("details.explorer iframe").locator("#matrices svg").first.wait_for(timeout=10_000)
    assert page.problems == []


@pytest.mark.parametrize(
    "spoil", [lambda page: page.replace("default-src 'none'", "default-src *"), lambda page: page + " " * 1_000_000]
)
def test_an_explorer_of_another_policy_or_too_large_is_linked_only(changed: Path, spoil):
    explorer = changed / "attention" / "explorer.html"
    explorer.write_text(spoil(explorer.read_text()))
    page = render(changed).read_text()
    assert "<iframe" not in page
    assert 'href="attention/explorer.html"' in page


def test_figures_have_a_version_for_the_dark(show, finished: Path):
    sources = [
        show(finished, color_scheme=scheme).eval_on_selector_all("picture img", "(all) => all.map((o) => o.currentSrc)")
        for scheme in ("light", "dark")
    ]
    assert len(sources[0]) == len(sources[1]) == 3
    assert not set(sources[0]) & set(sources[1])
