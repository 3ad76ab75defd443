"""The worksheet: what it asks, what it answers, and that it is two pages of paper."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

VIEWS = ("?sheet", "?sheet=answers")


def pages(pdf: bytes) -> int:
    return len(re.findall(rb"/Type\s*/Page\b", pdf))


@pytest.mark.parametrize("address", VIEWS)
@pytest.mark.parametrize("paper", ["A4", "Letter"])
def test_it_prints_on_two_pages(show, finished: Path, address: str, paper: str):
    page = show(finished, address)
    assert pages(page.pdf(format=paper)) == 2
    assert pages(page.pdf(format=paper, margin=dict.fromkeys(("top", "bottom", "left", "right"), "20mm"))) == 2


@pytest.mark.parametrize("address", VIEWS)
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
