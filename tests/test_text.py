from __future__ import annotations

import pytest

from pipelines.text import clip, escape, one_line


@pytest.mark.parametrize(
    ("text", "shown"),
    [("\u202eabc", "\\u202eabc"), ("a\x1b[31m", "a\\u001b[31m"), ("é 👩‍🔬", "é 👩‍🔬"), ("\u200d", "\\u200d")],
)
def test_what_would_move_the_cursor_or_turn_the_line_is_spelt_out(text: str, shown: str):
    assert escape(text) == shown


@pytest.mark.parametrize(
    ("text", "shown", "whole"),
    [
        ("plain", "plain", None),
        ("a\nb", "a\nb", None),
        ("x" * 500, "x" * 400 + "…", 500),
        ("\n" * 20, "\n" * 11 + "…", 20),
        ("\x1b[31m\u202e", r"\u001b[31m\u202e", None),
    ],
)
def test_an_excerpt_keeps_its_lines_and_says_how_long_the_text_was(text: str, shown: str, whole: int | None):
    excerpt = clip(text)
    assert (excerpt.text, excerpt.whole_characters) == (shown, whole)


@pytest.mark.parametrize(
    ("text", "shown"),
    [(" a\n\tb\r\nc ", "a b c"), ("\x1bb", "\\u001bb"), ("one two three", "one tw…"), ("1234567", "1234567")],
)
def test_any_text_fits_on_one_line(text: str, shown: str):
    assert one_line(text, 7) == shown
