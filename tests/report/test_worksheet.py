"""The worksheet views of the report page, in a real browser."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipelines.config import config_from_dict
from pipelines.report.page import render_report
from pipelines.rundir import RunDir

ROOT = Path(__file__).resolve().parent.parent.parent


def page_of(folder: Path, handout: str) -> Path:
    """The page of a run in which nothing has been done yet, for a handout."""
    (folder / "handout.yaml").write_text(handout)
    run = RunDir.open(folder / "run", config_from_dict({"attention": {"handout": str(folder / "handout.yaml")}}))
    render_report(run=run, config=config_from_dict({"attention": {"handout": str(folder / "handout.yaml")}}))
    return run.report_file


@pytest.fixture
def show(browser):
    contexts = []

    def show(file: Path, address: str):
        contexts.append(browser.new_context())
        page = contexts[-1].new_page()
        page.goto(file.as_uri() + address)
        page.wait_for_selector("html[data-ready]", state="attached", timeout=10_000)
        return page

    yield show
    for context in contexts:
        context.close()


@pytest.mark.parametrize("address", ["?sheet", "?sheet=answers"])
def test_the_worksheet_prints_on_two_pages(show, tmp_path: Path, address: str):
    file = page_of(tmp_path, (ROOT / "data" / "handout.yaml").read_text())
    printed = show(file, address).pdf(format="A4")
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) == 2


def test_the_sheet_hides_the_answers_and_the_page_hides_the_sheet(show, tmp_path: Path):
    file = page_of(tmp_path, (ROOT / "data" / "handout.yaml").read_text())
    assert not show(file, "").is_visible("#worksheet")
    assert not show(file, "?sheet").locator(".answer:visible").count()
    assert "unexpected character" in show(file, "?sheet=answers").inner_text("#worksheet")


def test_another_teachers_handout_makes_another_sheet(show, tmp_path: Path):
    shipped = (ROOT / "data" / "handout.yaml").read_text()
    changed = shipped.replace('["1", "a", "2", "b", "3"]', '["the", "cat", "the", "cat", "the"]')
    changed = changed.replace("Write a JSON list of 1 through 3.", "Write a JSON object with <b>a</b> set to 1.")
    changed = changed.replace('target: "[1, 2, 3]"', "target: '{\"a\": 1}'").replace('- "[1, 2, 3]"', "- '{\"a\": 1}'")
    changed = changed.replace('- "[1, 2, 3, 4)"', "- '{\"a\": 1'")
    page = show(page_of(tmp_path, changed), "?sheet=answers")
    assert page.locator("#worksheet .matrix thead th").all_inner_texts() == ["the", "cat", "the", "cat", "the"]
    assert "<b>a</b>" in page.inner_text("#worksheet")
    assert "unexpected end" in page.inner_text("#worksheet .samples")
