"""The closing questions on the report page, in a real browser."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.report.conftest import opened


@pytest.fixture(scope="module")
def file(begun, shipped: str) -> Path:
    return begun(shipped)


def saved(page) -> str:
    with page.expect_download() as download:
        page.click("#closing-markdown")
    return Path(download.value.path()).read_text()


def test_answers_survive_a_reload(show, file: Path):
    page = show(file)
    page.fill("#closing-2", "why the zeros")
    page.reload()
    assert page.input_value("#closing-2") == "why the zeros"
    assert page.input_value("#closing-1") == ""


def test_markdown_holds_the_answered_questions_alone(show, file: Path):
    page = show(file)
    page.fill("#closing-5", "more heads")
    page.fill("#closing-name", "Ada")
    text = saved(page)
    question = "What are you curious, hopeful, or excited about?"
    assert text == f"# Closing questions\n\nAda\n\n## {question}\n\nmore heads\n"


def test_what_cannot_be_read_back_is_said_and_does_no_harm(show, file: Path):
    page = show(file)
    key = "closing-questions/" + page.get_attribute("#closing", "data-key")
    page.evaluate("([key, text]) => localStorage.setItem(key, text)", [key, "{"])
    page.reload()
    assert page.inner_text("#closing-status") == "What was kept here cannot be read; write anew."
    page.fill("#closing-1", "anew")
    page.reload()
    assert page.input_value("#closing-1") == "anew"


def test_pages_of_two_runs_keep_their_answers_apart(show, file: Path, begun, shipped: str):
    reader = show(file)
    reader.fill("#closing-3", "mine")
    assert opened(reader.context, begun(shipped)).input_value("#closing-3") == ""
    assert opened(reader.context, file).input_value("#closing-3") == "mine"


def test_what_was_written_is_saved_as_it_is_however_long(show, file: Path):
    page = show(file)
    text = "</textarea><script>alert(1)</script>" + "x" * 100_000
    page.fill("#closing-4", text)
    assert saved(page).endswith(f"\n\n{text}\n")
