"""Which rows of ordinary requests training goes over, and what they prefer."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from datasets import Dataset

from pipelines.config import RehearsalConfig
from pipelines.training.rehearsal import Rehearsed, rehearsal_rows, repeats_itself, unwanted

ANSWERS = [
    Rehearsed(prompt=prompt, answer=answer, finish_reason=reason)
    for prompt, answer, reason in [
        ("Why?", "Because. It is so.", "stop"),
        ("How?", "Like this.", "stop"),
        ("Who?", "Nobody. Really! And", "length"),
    ]
]


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def pairs(count: int) -> Dataset:
    asked = [{"role": "user", "content": "[1]?"}]
    return Dataset.from_list([{"prompt": asked, "chosen": said("[1]"), "rejected": said("1")}] * count)


@pytest.mark.parametrize(("count", "share", "rows"), [(4, 0.2, 1), (12, 0.25, 4), (3, 0.5, 3), (100, 0.5, 6)])
def test_they_are_their_share_of_all_rows_as_far_as_the_answers_go_round(count: int, share: float, rows: int):
    assert len(rehearsal_rows(ANSWERS, RehearsalConfig(share=share, repeats=2), pairs(count))) == rows


def test_every_answer_comes_once_before_any_comes_twice():
    made = rehearsal_rows(ANSWERS, RehearsalConfig(share=0.5, repeats=9), pairs(5))
    assert Counter(row["prompt"][0]["content"] for row in made) == {"Why?": 2, "How?": 2, "Who?": 1}


def test_the_models_own_answer_is_preferred_to_what_json_alone_would_make_of_it():
    made = rehearsal_rows(ANSWERS, RehearsalConfig(share=0.5, repeats=1), pairs(3))
    assert [row["chosen"] for row in made] == [said(one.answer) for one in ANSWERS]
    assert [row["rejected"][0]["content"] for row in made] == ['"Because."', '["Like", "this."]', '["Nobody."]']


def test_an_answer_of_several_sentences_is_also_preferred_to_its_first_alone():
    assert unwanted("Yes. And no.", 1) == "Yes."


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("answer", ["Yes", "Yes. And no.", '"Quoted", he said.', "1. One\n2. Two"])
def test_the_other_side_always_differs_and_is_json_unless_it_is_the_answers_beginning(answer: str, place: int):
    other = unwanted(answer, place)
    assert other != answer
    assert answer.startswith(other) or json.loads(other)


def test_rows_have_the_columns_of_the_methods_table():
    kto = Dataset.from_list([{"prompt": said("?"), "completion": said("!"), "label": False}] * 9)
    made = rehearsal_rows(ANSWERS, RehearsalConfig(share=0.25), kto)
    assert made.features == kto.features
    assert made["label"] == [True] * 3


def test_an_answer_that_was_cut_off_says_so():
    rows = pairs(3).add_column("chosen_finish_reason", ["stop"] * 3)
    made = rehearsal_rows(ANSWERS, RehearsalConfig(share=0.5), rows)
    assert made["chosen_finish_reason"] == ["stop", "stop", "length"]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [("Boil an egg:\n" * 9, True), ("ha " * 30, True), ("1. Sun\n2. Moon\n3. Stars", False), ("Yes.", False)],
)
def test_an_answer_caught_in_a_loop_is_known(answer: str, expected: bool):
    assert repeats_itself(answer) is expected
