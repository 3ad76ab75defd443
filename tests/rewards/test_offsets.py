"""`JSONRejected.offset` is the length of the longest prefix that some document starts with.

The oracle is an independent reading of RFC 8259: recursive descent, one character at a time. It shares no code with the
package and knows neither its limits nor its reasons, so what is generated here stays within the limits.
"""

from __future__ import annotations

import json
import math
import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipelines.rewards import JSONRejected, parse_json


class _Stop(Exception):  # noqa: N818 - control flow of this file alone
    pass


class _Reader:
    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def peek(self) -> str:
        return self.text[self.at] if self.at < len(self.text) else ""

    def take(self, allowed: str) -> str:
        character = self.peek()
        if not character or character not in allowed:
            raise _Stop
        self.at += 1
        return character

    def spaces(self) -> None:
        while self.peek() and self.peek() in " \t\n\r":
            self.at += 1

    def value(self) -> None:
        self.spaces()
        first = self.peek()
        if first == "[":
            self.array()
        elif first == "{":
            self.object()
        elif first == '"':
            self.string()
        elif first in ("t", "f", "n"):
            for character in {"t": "true", "f": "false", "n": "null"}[first]:
                self.take(character)
        else:
            self.number()
        self.spaces()

    def array(self) -> None:
        self.take("[")
        self.spaces()
        if self.peek() != "]":
            self.value()
            while self.peek() == ",":
                self.take(",")
                self.value()
        self.take("]")

    def object(self) -> None:
        self.take("{")
        self.spaces()
        if self.peek() != "}":
            self.member()
            while self.peek() == ",":
                self.take(",")
                self.spaces()
                self.member()
        self.take("}")

    def member(self) -> None:
        self.string()
        self.spaces()
        self.take(":")
        self.value()

    def string(self) -> None:
        self.take('"')
        while self.peek() != '"':
            character = self.peek()
            if not character or character < " " or "\ud800" <= character <= "\udfff":
                raise _Stop
            self.at += 1
            if character == "\\" and self.take('"\\/bfnrtu') == "u":
                for _ in range(4):
                    self.take("0123456789abcdefABCDEF")
        self.take('"')

    def number(self) -> None:
        if self.peek() == "-":
            self.take("-")
        if self.peek() == "0":
            self.take("0")
        else:
            self.digits()
        if self.peek() == ".":
            self.take(".")
            self.digits()
        if self.peek() in ("e", "E"):
            self.take("eE")
            if self.peek() in ("+", "-"):
                self.take("+-")
            self.digits()

    def digits(self) -> None:
        self.take("0123456789")
        while self.peek() and self.peek() in "0123456789":
            self.at += 1


def longest_prefix(text: str) -> tuple[int, bool]:
    reader = _Reader(text)
    try:
        reader.value()
    except _Stop:
        return reader.at, False
    return reader.at, reader.at == len(text)


FLOATS = st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | FLOATS | st.text(max_size=8)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner))
DOCUMENTS = st.builds(
    lambda value, ascii_only, indent: json.dumps(value, ensure_ascii=ascii_only, indent=indent),
    VALUES,
    st.booleans(),
    st.sampled_from([None, 1, "\t"]),
)
NEAR_JSON = st.text(alphabet='[]{}:,"\\ue0123456789+-.truefalsn \n\t\x00\u00e9\ud800E', max_size=24)
TAILS = (b"", b"\x80", b"\x9f", b"\xbf", b"\x80\x80", b"\xbf\x80", b"\x80\x80\x80")
"""Some way to finish any UTF-8 sequence that is begun."""


def outcome(document: str | bytes) -> tuple[str, int] | None:
    try:
        parse_json(document)
    except JSONRejected as rejected:
        return rejected.reason, rejected.offset
    return None


def check_against_grammar(text: str) -> None:
    offset, is_document = longest_prefix(text)
    refusal = outcome(text)
    if refusal and refusal[0] == "number_out_of_range":
        return  # a limit, which the oracle does not know
    assert (refusal is None) == is_document
    assert refusal is None or refusal[1] == offset
    assert refusal is None or (refusal[0] == "unexpected_end") == (offset == len(text))


@settings(deadline=None, max_examples=150)
@given(VALUES)
def test_any_value_that_is_dumped_is_read_back_the_same(value):
    assert repr(parse_json(json.dumps(value))) == repr(json.loads(json.dumps(value)))


@settings(deadline=None, max_examples=100)
@given(DOCUMENTS, st.data())
def test_a_strict_prefix_that_is_no_document_is_rejected_at_its_end(document, data):
    prefix = document[: data.draw(st.integers(0, len(document)))]
    refusal = outcome(prefix)
    assert refusal in (None, ("unexpected_end", len(prefix)))
    assert (refusal is None) == longest_prefix(prefix)[1]


@settings(deadline=None, max_examples=150)
@given(DOCUMENTS, st.data())
def test_a_document_with_one_character_changed_is_rejected_where_the_grammar_says(document, data):
    at = data.draw(st.integers(0, len(document)))
    check_against_grammar(document[:at] + data.draw(NEAR_JSON)[:1] + document[at + 1 :])


@settings(deadline=None, max_examples=400)
@given(NEAR_JSON)
@example('"\ud800')
@example("[1.")
def test_text_made_of_pieces_of_json_is_judged_as_the_grammar_says(text):
    check_against_grammar(text)


@settings(deadline=None, max_examples=200)
@given(st.text() | st.binary())
def test_nothing_but_a_rejection_ever_escapes(document):
    outcome(document)


@settings(deadline=None, max_examples=200)
@given(NEAR_JSON.filter(lambda text: "\ud800" not in text) | DOCUMENTS)
def test_bytes_and_text_are_judged_alike(text):
    refusal = outcome(text)
    assert outcome(text.encode()) == (refusal and (refusal[0], len(text[: refusal[1]].encode())))


@settings(deadline=None, max_examples=300)
@given(NEAR_JSON, st.binary(min_size=1, max_size=4), st.integers(0, 24))
def test_ill_formed_bytes_are_rejected_at_the_longest_prefix_that_text_can_continue(text, noise, at):
    document = text[:at].encode("utf-8", "ignore") + noise + text[at:].encode("utf-8", "ignore")
    refusal = outcome(document)
    if refusal is None or refusal[0] == "number_out_of_range":
        return
    sound, longer = document[: refusal[1]], document[: refusal[1] + 1]
    assert any(could_continue(sound + tail) for tail in TAILS)
    assert refusal[1] == len(document) or not any(could_continue(longer + tail) for tail in TAILS)


def could_continue(document: bytes) -> bool:
    try:
        text = document.decode()
    except UnicodeDecodeError:
        return False
    return longest_prefix(text)[0] == len(text)


@pytest.mark.parametrize("seed", range(10))
def test_a_long_document_is_judged_as_the_grammar_says(seed):
    random_source = random.Random(seed)
    text = json.dumps(nested(random_source, 6), indent=random_source.choice([None, 1]))
    while len(text) < 3000:
        text = json.dumps([json.loads(text), nested(random_source, 6)], ensure_ascii=False)
    for _ in range(20):
        at = random_source.randrange(len(text))
        check_against_grammar(
            text[:at] + random_source.choice(['"', "[", "}", ",", "\\", "1", "", "x", ":"]) + text[at + 1 :]
        )


def nested(random_source: random.Random, depth: int) -> object:
    kind = random_source.randrange(3 if depth else 1)
    if kind == 0:
        return random_source.choice([None, True, 1, -2.5e-7, 'a"[', "\\", "{\u00e9\n:", "", 10**30])
    children = [nested(random_source, depth - 1) for _ in range(random_source.randrange(5))]
    return children if kind == 1 else {str(child)[:3]: child for child in children}


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 420), st.integers(0, 12), st.sampled_from(["", "+", "-"]), st.integers(0, 500))
def test_a_float_out_of_range_is_rejected_where_nothing_can_bring_it_back(zeros, decimals, sign, exponent):
    number = f"1{'0' * zeros}.{'0' * decimals}1e{sign}{exponent}"
    refusal = outcome(number)
    assert (refusal is None) == (float(number) != float("inf"))
    if refusal:
        assert can_be_finite(number[: refusal[1]])
        assert refusal[1] == len(number) or not can_be_finite(number[: refusal[1] + 1])


def can_be_finite(prefix: str) -> bool:
    continuations = [prefix + tail for tail in ("", "0", "9999", "-9999", "e-9999", "0e-9999")]
    return any(is_finite_float(number) for number in continuations)


def is_finite_float(number: str) -> bool:
    try:
        return math.isfinite(float(number))
    except ValueError:
        return False
