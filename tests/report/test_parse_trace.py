"""The parser's way through a sample, told step by step."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.report.parse_trace import trace_parse
from pipelines.rewards import JSONRejected, parse_json


def test_the_handouts_wrong_sample_stops_at_its_round_bracket():
    trace = trace_parse("[1, 2, 3, 4)")
    assert [step.text for step in trace.first] == ["[", "1", ",", "2", ",", "3", ",", "4"]
    assert (trace.stop, trace.rest, trace.final.open) == (11, ")", ("[",))
    assert set(trace.final.expected) == {",", "]", "more of the number"}


def test_the_handouts_right_sample_is_read_to_its_end():
    trace = trace_parse("[1, 2, 3]")
    assert (trace.stop, trace.rest) == (None, "")
    assert (trace.final.open, trace.final.expected) == ((), ("the end",))


@pytest.mark.parametrize(
    ("text", "last", "expected"),
    [
        ('{"a"', '"a"', (":",)),
        ('{"a": 1, ', ",", ("a string",)),
        ('{"a": tr', None, None),
        ('["abc', '"abc', ("more of the string",)),
        ("[", "[", ("a value", "]")),
        ("true x", "true", ("the end",)),
    ],
)
def test_what_may_come_next(text: str, last: str | None, expected: tuple[str, ...] | None):
    final = trace_parse(text).final
    if last is not None:
        assert (final.text, final.expected) == (last, expected)


def test_nothing_is_read_of_a_text_that_begins_wrong():
    trace = trace_parse("Sure! [1, 2, 3]")
    assert (trace.first, trace.last, trace.stop, trace.final) == ((), (), 0, None)


def test_of_a_long_text_the_beginning_and_the_end_are_kept():
    trace = trace_parse("[" + "1, " * 50 + "2)")
    assert (len(trace.first), trace.left_out, len(trace.last)) == (4, 82, 16)
    assert trace.final.text == "2"


@given(st.text(alphabet='[]{},:"1e.-truefalsn \\\n', max_size=30))
def test_the_stop_is_the_parsers_own(text: str):
    try:
        parse_json(text)
        offset = None
    except JSONRejected as rejected:
        offset = rejected.offset
    trace = trace_parse(text)
    assert trace.stop == offset
    assert all(text.startswith(step.text.removesuffix("…"), step.position) for step in trace.first + trace.last)
