from __future__ import annotations

import io

import pytest

from pipelines.preferences.labelers.human import HumanLabeler
from pipelines.preferences.labelers.labels import Comparison
from pipelines.preferences.labelers.terminal import Terminal, visible
from tests.made import make_sample, make_task


def comparison(number: int = 0, text: str = "better", *, prompt: str = "the request") -> Comparison:
    task = make_task(f"t{number}", prompt=prompt, targets=('"secret target"',))
    sides = [make_sample(side, index, task_id=task.id) for index, side in enumerate((text, "worse"))]
    return Comparison(task=task, first=sides[0], second=sides[1])


def sit(keys: str, comparisons: list[Comparison], **settings):
    """Decisions of a person who presses these keys, and what they saw."""
    sink = io.StringIO()
    terminal = Terminal(io.StringIO("".join(f"{key}\n" for key in keys)), sink)
    decisions = list(HumanLabeler("ada", terminal, 0, **settings).decide(comparisons))
    return [(each.comparison.task.id, each.label) for each in decisions], sink.getvalue()


def test_a_key_says_which_of_the_two_as_shown_is_better():
    for number in range(20):
        ((_, label),), shown = sit("1", [comparison(number)])
        assert label == ("first" if shown.index("better") < shown.index("worse") else "second")


def test_the_order_shown_varies_and_is_the_seed_s():
    shown = [sit("q", [comparison(number)])[1] for number in range(40)]
    tops = [text.index("better") < text.index("worse") for text in shown]
    assert 8 <= sum(tops) <= 32
    assert shown == [sit("q", [comparison(number)])[1] for number in range(40)]


def test_ties_and_skips_are_labels():
    assert sit("ts", [comparison(0), comparison(1)])[0] == [("t0", "tie"), ("t1", "abstain")]


def test_undo_takes_back_the_last_label_and_asks_again():
    decisions, _ = sit("tsut", [comparison(0), comparison(1)])
    assert decisions == [("t0", "tie"), ("t1", "abstain")]
    decisions, _ = sit("tuts", [comparison(0), comparison(1)])
    assert decisions == [("t0", "tie"), ("t0", "retracted"), ("t0", "tie"), ("t1", "abstain")]


def test_undo_reaches_back_to_an_earlier_sitting():
    decisions, _ = sit("uts", [comparison(1)], earlier=[comparison(0)])
    assert decisions == [("t0", "retracted"), ("t0", "tie"), ("t1", "abstain")]


def test_nothing_to_undo_is_said():
    decisions, shown = sit("ut", [comparison()])
    assert "nothing to undo" in shown
    assert decisions == [("t0", "tie")]


@pytest.mark.parametrize("ending", ["q", ""])
def test_quitting_and_the_end_of_the_input_stop_without_a_label(ending: str):
    assert sit("t" + ending, [comparison(0), comparison(1)])[0] == [("t0", "tie")]


def test_an_unknown_key_shows_the_keys_and_labels_nothing():
    decisions, shown = sit("xt", [comparison()])
    assert "keys: 1 the first" in shown
    assert decisions == [("t0", "tie")]


def test_the_question_is_blind():
    _, shown = sit("q", [comparison()])
    for secret in ("secret target", "-1.25", "first_tiers", "verifier", "t0"):
        assert secret not in shown


def test_foreign_text_cannot_drive_the_terminal():
    hostile = "a\x1b[2J\x07\r\x9b1m\u202eb\u2028c\ud800"
    _, shown = sit("q", [comparison(text=hostile, prompt="\x1b]0;title\x07")])
    assert r"a\u001b[2J\u0007⏎\u009b1m\u202eb\u2028c\ud800" in shown
    assert shown.replace("\n", "").isprintable()


def test_a_line_feed_cannot_forge_the_frame():
    assert visible("one\nAnswer 2") == "  | one\n  | Answer 2"


def test_what_is_cut_is_counted():
    assert visible("x" * 2500).endswith("x\n  [500 more characters]")
    assert visible("x\n" * 100, lines=3) == "  | x\n  | x\n  | x\n  [195 more characters]"


def test_a_terminal_that_lacks_a_character_gets_its_code():
    sink = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    Terminal(io.StringIO(), sink).write("größer")
    assert sink.buffer.getvalue() == b"gr\\xf6\\xdfer\n"
