"""`parse_json` at its limits, in hostile surroundings, and beside the value: notes and the exception itself."""

from __future__ import annotations

import json
import math
import pickle
import sys
import threading
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.rewards import MAX_BYTES, MAX_DEPTH, MAX_DIGITS, REASONS, JSONRejected, parse_json
from pipelines.rewards.json_parser import notes_on


def on_a_deep_stack(frames: int, action: Callable[[], object]) -> object:
    """Runs an action with that many more frames on the stack."""
    return action() if frames == 0 else on_a_deep_stack(frames - 1, action)


def stack_frames_left() -> int:
    frame, used = sys._getframe(), 0
    while frame:
        frame, used = frame.f_back, used + 1
    return sys.getrecursionlimit() - used


@pytest.mark.parametrize("left", [600, 250, 100])
def test_a_document_at_the_depth_limit_is_read_however_deep_its_caller_stands(left):
    document = '{"a":[' * (MAX_DEPTH // 2) + "]}" * (MAX_DEPTH // 2)
    value = on_a_deep_stack(stack_frames_left() - left, lambda: (parse_json(document), notes_on(document)))
    assert isinstance(value[0]["a"][0]["a"], list)


def test_the_process_limit_on_integer_digits_changes_no_verdict():
    before = sys.get_int_max_str_digits()
    try:
        for limit in (640, 0):
            sys.set_int_max_str_digits(limit)
            assert parse_json("9" * MAX_DIGITS) == 10**MAX_DIGITS - 1
            with pytest.raises(JSONRejected, match="too_many_digits at offset 640"):
                parse_json("9" * (MAX_DIGITS + 1))
    finally:
        sys.set_int_max_str_digits(before)


@pytest.mark.parametrize("document", ['"' + "9" * 5000 + '"', '"' + "[" * 5000 + '"', '["\\"' + "[" * 5000 + '"]'])
def test_digits_and_brackets_inside_strings_meet_no_limit(document):
    assert parse_json(document) == json.loads(document)


@pytest.mark.parametrize("document", [" " * (MAX_BYTES + 1), b" " * (MAX_BYTES + 1), "\u00e9" * (MAX_BYTES // 2 + 1)])
def test_a_document_beyond_the_size_limit_is_refused_unread(document):
    with pytest.raises(JSONRejected, match="too_large at offset 0"):
        parse_json(document)


def test_a_document_of_exactly_the_size_limit_is_read():
    assert parse_json('"' + "\u00e9" * (MAX_BYTES // 2 - 1) + '"') == "\u00e9" * (MAX_BYTES // 2 - 1)


@pytest.mark.parametrize(
    ("start", "end", "reason", "left_over"),
    [
        ('["1e400",', "1e400 ", "number_out_of_range", 2),
        ('["NaN",', "NaN", "unexpected_character", 3),
        ('["\u00e9",', '"\ud800', "invalid_unicode", 1),
        ("[", "[" * MAX_DEPTH, "too_deep", 1),
        ('["' + "1" * 700 + '",', "1" * 641, "too_many_digits", 1),
    ],
)
def test_what_the_scanner_underneath_would_take_is_refused_far_into_a_document(start, end, reason, left_over):
    document = start + '["\\"]", {"[": [-1.5, null]}],' * 200 + end
    with pytest.raises(JSONRejected, match=f"{reason} at offset {len(document) - left_over}$"):
        parse_json(document)


@pytest.mark.parametrize(
    ("document", "offset"),
    [
        ("[" * 300 + "}" * 5000, MAX_DEPTH),
        ("]" + "[" * 5000, 0),
        ('"\x01' + "[" * 3000, 1),
        ("[1 " + "9" * 5000, 3),
        ("x" + "9" * 5000, 0),
        ("[Q,NaN," + "1e400," * 500, 1),
    ],
)
def test_of_several_faults_the_first_counts(document, offset):
    with pytest.raises(JSONRejected, match=f"offset {offset}$"):
        parse_json(document)


@pytest.mark.parametrize(
    ("document", "notes"),
    [
        ('{"a": 1, "b": {"a": 2}}', ()),
        ('{"a": 1, "\\u0061": 2}', ("duplicate_key",)),
        ('[{"a": {"b": 1, "b": 1}}]', ("duplicate_key",)),
        ('["a:b", "c:d"]', ()),
        ('"\\ud83d\\ude00 \\\\ud800 \\u00e9"', ()),
        ('"\\ud83d"', ("lone_surrogate",)),
        ('"\\ude00\\ud83d"', ("lone_surrogate",)),
        ('"\\uD83D\\n\\uDE00"', ("lone_surrogate",)),
        ('{"\\udfff": 1, "\\udfff": 2}', ("duplicate_key", "lone_surrogate")),
    ],
)
def test_what_the_value_does_not_show_is_noted(document, notes):
    assert notes_on(document) == notes


@settings(deadline=None, max_examples=100)
@given(st.text(alphabet=st.sampled_from("\ud800\udbff\udc00\udfffa\\u"), max_size=6))
def test_a_lone_surrogate_is_noted_just_when_the_value_has_one(text):
    joined = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    lone = "\ufffd" in joined
    assert ("lone_surrogate" in notes_on(json.dumps(text))) == lone


@settings(deadline=None, max_examples=200)
@given(
    st.decimals(allow_nan=False, allow_infinity=False).map(str).filter(lambda number: any(c in number for c in ".E"))
)
def test_a_float_is_read_as_python_reads_it(number):
    number = number.replace("E+", "e").replace("E", "e")
    if math.isinf(float(number)):
        with pytest.raises(JSONRejected, match="number_out_of_range"):
            parse_json(number)
    else:
        assert repr(parse_json(number)) == repr(float(number))


def test_a_rejection_survives_pickling_and_has_a_reason_of_the_closed_vocabulary():
    with pytest.raises(JSONRejected, match="unexpected_end") as caught:
        parse_json("[")
    copy = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own bytes
    assert (copy.reason, copy.offset, str(copy)) == ("unexpected_end", 1, "unexpected_end at offset 1")
    assert copy.reason in REASONS


def test_threads_read_side_by_side():
    documents = [json.dumps({f"k{number}": [1.5] * 400}) for number in range(8)]
    wrong: list[str] = []

    def read(document: str) -> None:
        expected = json.loads(document)
        wrong.extend(document for _ in range(50) if parse_json(document) != expected)

    threads = [threading.Thread(target=read, args=(document,)) for document in documents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
