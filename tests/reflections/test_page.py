"""The page in a real Chromium, over answers that people and worse have written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe

from pipelines.reflections import gather, write_reflections

HOSTILE = "<script>document.title = 'ran'</script></textarea></style><img src=x onerror=alert(1)>\x1b[31m"


@pytest.fixture
def file(write, tmp_path: Path) -> Path:
    files = [
        write("a.json", {"Why?": "Because.\nIt was so.", "How <b>?": HOSTILE}, name="<i>Ada</i>"),
        write("b.json", {"Why?": "x" * 100_000, "How <b>?": ""}, run="</title>"),
        write("c.json", {"Why?": "لأن", "How <b>?": "\n".join("abc" * 40)}, written="2026-06-01", name="n" * 100_000),
        tmp_path / "gone.json",
    ]
    write_reflections(gather(files), tmp_path)
    return tmp_path / "reflections.html"


@pytest.fixture
def open_page(browser, file: Path):
    opened = []

    def open_page(**settings):
        context = browser.new_context(**settings)
        opened.append(context)
        page = context.new_page()
        page.problems, page.asked = [], []
        page.on("console", lambda message: page.problems.append(message.text))
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(file.as_uri())
        return page

    yield open_page
    for context in opened:
        context.close()


def test_it_opens_from_a_file_without_a_request_or_an_error(open_page, file: Path):
    page = open_page()
    assert page.problems == []
    assert page.asked == [file.as_uri()]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(open_page, scheme: str):
    page = open_page(color_scheme=scheme)
    results = Axe().run(page)
    assert [found for found in results.response["violations"] if found["impact"] in ("serious", "critical")] == []
    assert page.problems == []


def test_what_people_wrote_is_text_and_never_markup(open_page):
    page = open_page()
    assert page.title() == "Closing questions: 3 responses"
    assert page.locator("script, img, textarea, b, i").count() == 0
    shown = page.locator("section").nth(1).locator(".text").first.inner_text()
    assert shown == HOSTILE.replace("\x1b", r"\u001b")


def test_each_question_says_how_many_answered(open_page):
    page = open_page()
    assert page.locator("nav li span").all_inner_texts() == ["3 of 3", "2 of 3"]
    assert page.locator("h2 span").all_inner_texts() == [
        "Question 1 · 3 of 3 answered", "Question 2 · 2 of 3 answered"
    ]  # fmt: skip


def test_a_name_stands_under_its_answer_and_nowhere_else(open_page):
    first, second = open_page().locator("section").first.locator("li").all()[:2]
    assert first.locator(".by").inner_text() == "<i>Ada</i>"
    assert first.locator(".text").inner_text() == "Because.\nIt was so."
    assert second.locator(".by").inner_text() == "Cut here: 100,000 characters, whole in reflections.jsonl"


def test_the_head_says_whose_answers_these_are_and_when(open_page):
    page = open_page()
    assert page.inner_text(".eyebrow") == "Run default, </title>"
    assert page.inner_text(".lead") == "3 responses, 2 of them with a name, written from 4 May to 1 June 2026."


def test_files_that_are_not_in_it_are_counted_at_its_foot(open_page):
    assert open_page().inner_text("footer").endswith("1 file could not be read and is not in here.")


def test_a_phone_scrolls_in_one_direction_only(open_page):
    page = open_page(viewport={"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_a_long_answer_leaves_the_page_small(file: Path):
    assert file.stat().st_size < 20_000


def test_dark_and_light_are_both_drawn(open_page):
    grounds = [
        open_page(color_scheme=scheme).evaluate("getComputedStyle(document.body).backgroundColor")
        for scheme in ("light", "dark")
    ]
    assert grounds == ["rgb(253, 253, 251)", "rgb(23, 23, 22)"]


def test_it_prints_black_on_white_also_from_a_dark_screen(open_page):
    page = open_page(color_scheme="dark")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.querySelector('h1')).color") == "rgb(0, 0, 0)"


def test_the_policy_allows_its_own_style_and_nothing_else(file: Path):
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', file.read_text()).group(1)
    assert re.fullmatch(r"default-src 'none'; style-src 'sha256-[\w+/=]+'; base-uri 'none'; form-action 'none'", policy)
