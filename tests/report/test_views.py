"""Each view of the page in a real browser: nothing asked for, no complaint, open to all; the sheet on paper."""

from __future__ import annotations

import itertools
import re
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
SHEETS = ("?sheet", "?sheet=answers")


def open_all(page) -> None:
    page.evaluate("document.querySelectorAll('details:not(.explorer)').forEach((one) => { one.open = true; })")


def fetched(page) -> list[str]:
    return [url for url in page.asked if not url.startswith(("data:", "about:", "blob:"))]


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
    assert fetched(page) == [finished.as_uri() + address]


def test_it_is_small(finished: Path):
    assert finished.stat().st_size < 2_000_000


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
    assert fetched(page) == [finished.as_uri()]


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


def pages(pdf: bytes) -> int:
    return len(re.findall(rb"/Type\s*/Page\b", pdf))


@pytest.mark.parametrize("address", SHEETS)
@pytest.mark.parametrize("paper", ["A4", "Letter"])
def test_it_prints_on_two_pages(show, finished: Path, address: str, paper: str):
    page = show(finished, address)
    assert pages(page.pdf(format=paper)) == 2
    assert pages(page.pdf(format=paper, margin=dict.fromkeys(("top", "bottom", "left", "right"), "20mm"))) == 2


@pytest.mark.parametrize("address", SHEETS)
def test_it_prints_on_two_pages_before_anything_has_run(show, begun, shipped: str, address: str):
    assert pages(show(begun(shipped), address).pdf(format="A4")) == 2


def test_the_page_is_without_the_sheet_and_the_sheet_without_the_page(show, finished: Path):
    assert not show(finished).is_visible("#worksheet")
    sheet = show(finished, "?sheet")
    assert sheet.locator("header, main > section:not(#worksheet)").locator("visible=true").count() == 0


def test_the_sheet_asks_and_does_not_tell(show, finished: Path):
    sheet = show(finished, "?sheet")
    assert sheet.locator("#worksheet .answer:visible").count() == 0
    cells = sheet.locator("#worksheet .empty tbody td")
    assert (cells.count(), set(cells.all_inner_texts())) == (25, {""})
    assert sheet.locator("#worksheet .choices code").all_inner_texts() == ["[1, 2, 3]", "[1, 2, 3, 4)"]
    assert sheet.locator("#worksheet ol li:visible").count() == 5


def test_the_answers_are_the_pages_own(show, finished: Path):
    page = show(finished)
    shown = page.locator("#attention ~ .beside table").first.locator("tbody").inner_text()
    answers = show(finished, "?sheet=answers")
    assert answers.locator("#worksheet .blank:visible").count() == 0
    assert answers.locator("#worksheet .answer table tbody").inner_text().split() == shown.split()
    assert "stops at character 11" in answers.inner_text("#worksheet")


def test_another_teachers_handout_makes_another_sheet(show, begun, shipped: str):
    changed = shipped.replace('["1", "a", "2", "b", "3"]', '["the", "cat", "the", "cat", "the", "mat"]')
    changed = changed.replace("Write a JSON list of 1 through 3.", "Write a JSON object with <b>a</b> set to 1.")
    changed = changed.replace('target: "[1, 2, 3]"', "target: '{\"a\": 1}'").replace('- "[1, 2, 3]"', "- '{\"a\": 1}'")
    changed = changed.replace('- "[1, 2, 3, 4)"', "- '{\"a\": 1'")
    sheet = show(begun(changed), "?sheet=answers")
    assert sheet.locator("#worksheet .empty thead th").all_text_contents() == ["the", "cat", "the", "cat", "the", "mat"]
    assert "<b>a</b>" in sheet.inner_text("#worksheet")
    assert "there comes the end" in sheet.inner_text("#worksheet")
    assert pages(sheet.pdf(format="A4")) == 2
