"""Untrusted text on its way to a terminal or a page."""

from __future__ import annotations

import pytest

from pipelines.reflections.visible import Excerpt, excerpt, is_blank, one_line


def test_terminal_codes_and_direction_marks_are_spelt_out_on_one_line():
    assert one_line("a\n\x1b[31m\u202eb\x9b") == r"a \u001b[31m\u202eb\u009b"


def test_a_line_is_cut_to_its_length():
    assert one_line("x" * 100_000, 10) == "x" * 9 + "…"


def test_a_short_answer_keeps_its_lines_and_says_nothing_of_its_length():
    assert excerpt("one\r\ntwo\n", characters=20, lines=5) == Excerpt(text="one\ntwo")


def test_a_long_answer_is_cut_at_a_space_and_says_how_long_it_was():
    assert excerpt("one two three", characters=10, lines=5) == Excerpt(text="one two …", whole_characters=13)


def test_a_long_word_is_cut_where_the_room_ends():
    assert excerpt("x" * 100, characters=50, lines=5) == Excerpt(text="x" * 50 + " …", whole_characters=100)


def test_an_answer_of_many_lines_is_cut_after_some():
    assert excerpt("a\nb\nc\nd", characters=100, lines=2) == Excerpt(text="a\nb …", whole_characters=7)


def test_control_characters_of_an_answer_are_spelt_out():
    assert excerpt("\x1b[31mred\x00", characters=100, lines=2).text == r"\u001b[31mred\u0000"


def test_joined_emoji_and_right_to_left_letters_stay():
    assert excerpt("👩\u200d🏫 שלום\u200f", characters=100, lines=2).text == "👩\u200d🏫 שלום\u200f"


@pytest.mark.parametrize(("text", "blank"), [("", True), (" \n\u200b", True), ("…", False), ("\u0301", False)])
def test_blank_is_what_would_not_show(text: str, blank: bool):
    assert is_blank(text) is blank
