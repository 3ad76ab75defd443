"""Completions that look right, or should pass by accident, and do not."""

from __future__ import annotations

import re

import pytest

from pipelines.records import Task
from pipelines.rewards import score, verify

SCHEMA = '{"type": "array", "items": {"type": "integer"}, "minItems": 3, "maxItems": 3}'
TASK = Task(
    id="range/1-3",
    family="range",
    key="1-3",
    split="train",
    prompt="Write a JSON list of 1 through 3.",
    schema=SCHEMA,
    target="[1, 2, 3]",
)

CHEATS: tuple[str, ...] = (
    *re.split(
        r"\n *| {3,}",
        r"""{}   []   null   3   true   -   "I cannot help with that."   "[1, 2, 3]"   <answer></answer>
        json [1, 2, 3]   Write a JSON list of 1 through 3.   The answer is [1, 2, 3]   [1, 2, 3] is the answer
        [1, 2, 3] // done   [1, 2, 3, /* that is all */]   `[1, 2, 3]`   [1, 2, 3]]   [1, 2, 3].   [1, 2, 3,]
        [1, 2, 3, 4)   [1, 2, 3][1, 2, 3]   [[1, 2, 3]]   [[1, 2, 3], [1, 2, 3]]
        {"answer": [1, 2, 3]}   (1, 2, 3)   {1, 2, 3}   [0x1, 2, 3]   [+1, 2, 3]   [01, 2, 3]
        [1, 2, 3, NaN]   [1, 2, Infinity]   [1e400, 2, 3]   [true, 2, 3]   [1.0, 2, 3]
        [1, 2, 3.0000000000000000001]   [1, 2, 3e0]   [1, 2, 18446744073709551619]   [1, 2, 4294967299]
        ["1", "2", "3"]   [3, 2, 1]   [1, 2]   [1, 2, 3, 3]   [1, 2, 3, null]   "\ud800"   [2, 3]""",
    ),
    *("", " ", "[" * 60_000, "[" * 100_000, "1" * 10_000, "[1, 2, 3\x00]", "[1, 2, 3]\x00", "[1, 2, 3]\n[1, 2, 3]"),
    *("```json\n[1, 2, 3]\n```", "```\n[1, 2, 3]\n```", "\ufeff[1, 2, 3]", "\ud800", "[1\u00a0, 2, 3]"),
    *("\u200f[1, 2, 3]", "[1, 2, 3]\u200e", "[1, 2, 3\u301b"),
    *("[\uff11, 2, 3]", "[1, \u0662, 3]", "\uff3b1, 2, 3\uff3d"),
)
"""Completions for "Write a JSON list of 1 through 3." that are not that list."""


@pytest.mark.parametrize("completion", CHEATS, ids=lambda text: text[:24])
def test_what_is_not_the_list_asked_for_passes_no_more_than_it_earned(completion):
    verdict = verify(completion, TASK)
    assert not verdict.passed
    assert verdict.reason is not None
    assert score(verdict) < 1


@pytest.mark.parametrize("completion", ["[1, 2, 3]", "[1,2,3]", " [ 1 ,\r\n\t2, 3 ]\n"])
def test_the_list_asked_for_passes_however_it_is_spaced(completion):
    assert verify(completion, TASK).passed


@pytest.mark.parametrize("character", sorted({chr(code) for code in range(256)} - set(" \t\n\r")))
def test_one_more_character_than_the_document_fails_it(character):
    verdict = verify("[1, 2, 3]" + character, TASK)
    assert (verdict.parses, verdict.reason, verdict.offset) == (False, "trailing_text", 9)
