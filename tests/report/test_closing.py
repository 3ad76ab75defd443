"""The closing questions on the report page, in a real browser."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def file(begun, shipped: str) -> Path:
    """The page of a run in which nothing has been done yet."""
    return begun(shipped)


@pytest.fixture
def context(browser):
    context = browser.new_context(accept_downloads=True)
    yield context
    context.close()


def opened(context, file: Path):
    page = context.new_page()
    page.goto(file.as_uri())
    page.wait_for_selector("html[data-ready]", state="attached", timeout=10_000)
    return page


def saved(page, button: str, folder: Path) -> Path:
    with page.expect_download() as download:
        page.click(button)
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def test_answers_survive_a_reload_and_stay_with_their_run(context, file: Path, tmp_path: Path):
    page = opened(context, file)
    page.fill("#closing-2", "why the zeros")
    page.reload()
    assert page.input_value("#closing-2") == "why the zeros"
    assert page.input_value("#closing-1") == ""
    other = tmp_path / "other.html"
    key = page.get_attribute("#closing", "data-key")
    other.write_text(file.read_text().replace(key, "0" * 16))
    assert opened(context, other).input_value("#closing-2") == ""


def test_markdown_holds_the_answered_questions_alone(context, file: Path, tmp_path: Path):
    page = opened(context, file)
    page.fill("#closing-5", "more heads")
    page.fill("#closing-name", "Ada")
    text = saved(page, "#closing-markdown", tmp_path).read_text()
    question = "What are you curious, hopeful, or excited about?"
    assert text == f"# Closing questions\n\nAda\n\n## {question}\n\nmore heads\n"


def test_what_cannot_be_read_back_is_said_and_does_no_harm(context, file: Path):
    page = opened(context, file)
    key = "closing-questions/" + page.get_attribute("#closing", "data-key")
    page.evaluate("([key, text]) => localStorage.setItem(key, text)", [key, "{"])
    page.reload()
    assert page.inner_text("#closing-status") == "What was kept here cannot be read; write anew."
    page.fill("#closing-1", "anew")
    page.reload()
    assert page.input_value("#closing-1") == "anew"


def test_pages_of_two_runs_keep_their_answers_apart(context, file: Path, begun, shipped: str):
    opened(context, file).fill("#closing-3", "mine")
    assert opened(context, begun(shipped)).input_value("#closing-3") == ""
    assert opened(context, file).input_value("#closing-3") == "mine"


def test_what_was_written_is_saved_as_it_is_however_long(context, file: Path, tmp_path: Path):
    page = opened(context, file)
    text = "</textarea><script>alert(1)</script>" + "x" * 100_000
    page.fill("#closing-4", text)
    assert saved(page, "#closing-markdown", tmp_path).read_text().endswith(f"\n\n{text}\n")
