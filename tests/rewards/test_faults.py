"""Where an answer can no longer become right.

Offsets are worked out by hand, or by an independent writer of JSON: told a wanted value and the beginning of a text, it
spells the value with that very beginning, or says that it cannot. It shares no code with the package.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from decimal import Decimal

import jsonschema
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipelines.errors import DataError
from pipelines.records import Task
from pipelines.rewards import locate_fault, verify

PLAIN = Task(id="t", family="f", key="k", split="train", prompt="Where?")
SPACES = " \t\n\r"


def task(*targets: str, schema: object = None, **fields) -> Task:
    text = None if schema is None else json.dumps(schema)
    return dataclasses.replace(PLAIN, targets=targets, schema=text, **fields)


def located(text: str, asked: Task) -> tuple[str, str, str, str | None] | None:
    """Kind, what may stay, pointer, keyword."""
    fault = locate_fault(text, asked)
    return fault and (fault.kind, text[: fault.offset], fault.pointer, fault.keyword)


@pytest.mark.parametrize(
    ("targets", "text", "kind", "stays", "pointer"),
    [
        # Not JSON, or not any more.
        (['{"a": [1, 2]}'], '{"a": [1, 2', "syntax", '{"a": [1, 2', "/a/1"),
        (['{"a": [1, 2]}'], '{"a": [1, x]}', "syntax", '{"a": [1, ', "/a/1"),
        (["[1]"], "[1] is the list", "syntax", "[1] ", ""),
        (["[1]"], "The list is [1]", "syntax", "", ""),
        (["[1, 2, 3]"], "[1, 2, 3)", "syntax", "[1, 2, 3", "/2"),
        (["[1, 2, 3]"], "[1, 2, 3, 4)", "value", "[1, 2, 3", "/3"),
        (['{"city": "Rome"}'], '{"city": "Paris", "units', "value", '{"city": "', "/city"),
        (['{"city": "Rome"}'], '{"city": "Ro', "syntax", '{"city": "Ro', "/city"),
        (['{"city": "Rome"}'], "", "syntax", "", ""),
        (['{"city": "Rome"}'], " \n", "syntax", " \n", ""),
        # The root.
        (["[1]"], ' {"a": 1}', "root_type", " ", ""),
        (["[1]", "2"], ' {"a": 1}', "value", " ", ""),
        (['"x"'], "tru", "root_type", "", ""),
        # Numbers end where something else begins.
        (['{"n": 123}'], '{"n": 12}', "value", '{"n": 12', "/n"),
        (['{"n": 123}'], '{"n": 13}', "value", '{"n": 1', "/n"),
        (['{"n": 123}'], '{"n": 1234}', "value", '{"n": 123', "/n"),
        (["123"], "12", "value", "12", ""),
        (["123"], "12 \n", "value", "12", ""),
        (["[100]"], "[1e2]", "value", "[1", "/0"),
        (["[1]"], "[1.0]", "value", "[1", "/0"),
        (["[100.0]"], "[1e2, 1]", "value", "[1e2", "/1"),
        (["[1e2]"], "[100.00, 1]", "value", "[100.00", "/1"),
        (["[1.5]"], "[1.51]", "value", "[1.5", "/0"),
        (["[1.5]"], "[1.501]", "value", "[1.50", "/0"),
        (["[-1]"], "[1]", "value", "[", "/0"),
        (["[0.0]"], "[1e-400]", "value", "[", "/0"),
        (["[true]"], "[1]", "value", "[", "/0"),
        (["[true]"], "[false]", "value", "[", "/0"),
        (["[null]"], "[nul", "syntax", "[nul", "/0"),
        # Strings are compared by character and never cut inside one.
        (['"Rome"'], '"Ro"', "value", '"Ro', ""),
        (['"Rome"'], '"Romeo"', "value", '"Rome', ""),
        (['"Rome"'], r'"\u0052ime"', "value", r'"\u0052', ""),
        (['"Rome"'], r'"R\u006Fm\u0065\u0065"', "value", r'"R\u006Fm\u0065', ""),
        (['"Rome"'], r'"R\u0069me"', "value", '"R', ""),
        (['"Rome"'], r'"R\u006', "syntax", r'"R\u006', ""),
        (['"Rome"'], r'"R\u007', "value", '"R', ""),
        (['"a\\nb"'], r'"a\tb"', "value", '"a', ""),
        (['"\U0001f600"'], r'"\ud83d\ude01"', "value", '"', ""),
        (['"\U0001f600"'], r'"\ud83d\uDE', "syntax", r'"\ud83d\uDE', ""),
        (['"\U0001f600"'], r'"\ud83dx"', "value", '"', ""),
        # Lists have their order, objects have none.
        (["[1, 2]"], "[1, 2, 3]", "value", "[1, 2", "/2"),
        (["[1, 2]"], "[1, 2 , ]", "value", "[1, 2 ", "/2"),
        (["[1, 2]"], "[1 ]", "value", "[1 ", ""),
        (["[1, 2]"], "[2, 1]", "value", "[", "/0"),
        (["[]"], "[ 1]", "value", "[ ", "/0"),
        (["[[1], [2]]"], "[[1], [2, 3]]", "value", "[[1], [2", "/1/1"),
        (['{"a": 1, "b": 2}'], '{"b": 2, "a": 2}', "value", '{"b": 2, "a": ', "/a"),
        (['{"a": 1, "b": 2}'], '{"b": 2}', "value", '{"b": 2', ""),
        (['{"a": 1, "b": 2}'], '{"b" :2 , "c": 3}', "value", '{"b" :2 , "', "/c"),
        (['{"unit": 1, "size": 2}'], '{"units": 1}', "value", '{"unit', "/units"),
        (['{"unit": 1, "size": 2}'], '{"unit": 1, "un', "value", '{"unit": 1, "', ""),
        (['{"unit": 1}'], '{"unit": 1, "size": 2}', "value", '{"unit": 1', "/size"),
        (["{}"], '{ "a": 1}', "value", "{ ", "/a"),
        (['{"a": {"b": [0]}}'], '{"a": {"b": [1]}, "c": 1}', "value", '{"a": {"b": [', "/a/b/0"),
        (['{"a/b": {"~": 1}}'], '{"a/b": {"~": 2}}', "value", '{"a/b": {"~": ', "/a~1b/~0"),
        # A key is written once.
        (['{"a": 1}'], '{"a": 1, "a": 2}', "value", '{"a": 1', "/a"),
        (['{"a": 1, "b": 2}'], '{"a": 1, "a": 2}', "value", '{"a": 1, "', "/a"),
        (['{"a": 1}'], '{"a": 2, "a": 1', "value", '{"a": ', "/a"),
        # As long as one accepted value is in reach.
        (["[1, 2]", "[1, 3, 4]"], "[1, 3, 5]", "value", "[1, 3, ", "/2"),
        (["[1, 2]", "[1, 3]"], "[1, 4]", "value", "[1, ", "/1"),
        (['{"c": "Rome"}', '{"c": "Rome", "u": "C"}'], '{"u": "C"}', "value", '{"u": "C"', ""),
        (['{"c": "Rome"}', '{"c": "Paris", "u": "C"}'], '{"c": "Rome", "u": "C"}', "value", '{"c": "Rome"', "/u"),
    ],
)
def test_an_answer_goes_wrong_where_no_accepted_value_can_be_reached_any_more(targets, text, kind, stays, pointer):
    assert located(text, task(*targets)) == (kind, stays, pointer, None)


UNEVALUATED = "unevaluatedProperties"
CLOSED = {"properties": {"city": {"type": "string"}, "count": {"type": "integer"}}, "additionalProperties": False}
NUMBER_OR_TAGGED = {
    "anyOf": [
        {"type": "integer"},
        {"properties": {"kind": {"const": "a"}, "x": {"type": "integer"}}, "required": ["kind"]},
        {"properties": {"kind": {"const": "b"}, "x": {"type": "string"}}, "required": ["kind"]},
    ]
}


@pytest.mark.parametrize(
    ("schema", "text", "stays", "pointer", "keyword"),
    [
        ({"required": ["a"]}, '{"b": {} }', '{"b": {} ', "", "required"),
        ({"properties": {"a": {"required": ["b"]}}}, '{"a": {}, "c": 1}', '{"a": {', "/a", "required"),
        ({"required": ["a"], "maxProperties": 1}, '[{}, {"b": 1}]'[5:-1], "", "", "required"),
        ({"properties": {"a": {"type": "string"}}}, '{"b": 1, "a": 2}', '{"b": 1, "a": ', "/a", "type"),
        ({"properties": {"a": {"type": "string"}}}, '{"a": 2, "b', '{"a": ', "/a", "type"),
        ({"properties": {"a": {"type": "string"}}}, '{"a": [1', '{"a": ', "/a", "type"),
        ({"items": {"type": "integer"}}, '[1, "2", x', "[1, ", "/1", "type"),
        (CLOSED, '{"city": "x", "cities": 1}', '{"city": "x", "c', "/cities", "additionalProperties"),
        (CLOSED, '{"cities": 1}', '{"cit', "/cities", "additionalProperties"),
        (CLOSED, '{"cities', '{"cit', "", "additionalProperties"),
        (CLOSED, '{"city": "x", "count": 1 , "z": 1}', '{"city": "x", "count": 1 ', "/z", "additionalProperties"),
        (CLOSED, '{"city": "x", "count": 1 ,', '{"city": "x", "count": 1 ', "", "additionalProperties"),
        ({"additionalProperties": False}, '{ "z": 1}', "{ ", "/z", "falseSchema"),
        (
            {"patternProperties": {"^x": {}}, "additionalProperties": False},
            '{"x": 1, "y": 1}',
            '{"x": 1',
            "/y",
            "additionalProperties",
        ),
        ({UNEVALUATED: False, "properties": {"a": {}}}, '{"a": 1, "b": 2}', '{"a": 1', "/b", UNEVALUATED),
        ({"propertyNames": {"maxLength": 1}}, '{"a": 1, "bb": 2}', '{"a": 1', "/bb", "propertyNames"),
        ({"properties": {"b": False}}, '{"a": 1, "b": 2}', '{"a": 1', "/b", "falseSchema"),
        ({"properties": {"b": {"not": {}}}}, '{"a": 1, "b": 2}', '{"a": 1', "/b", "not"),
        ({"prefixItems": [{}], "items": False}, "[1, 2, 3]", "[1", "/1", "falseSchema"),
        ({"prefixItems": [{}], "items": False}, "[1, ", "[1", "/1", "falseSchema"),
        ({"enum": ["Rome", "Romulus"]}, '"Romans"', '"Rom', "", "enum"),
        ({"enum": ["Rome", "Romulus"]}, '"Romu"', '"Romu', "", "enum"),
        ({"enum": ["Rome", "Romulus"]}, '"Romx', '"Rom', "", "enum"),
        ({"items": {"const": 100}}, "[1e2, 100.0, 10]", "[1e2, 100.0, 10", "/2", "const"),
        ({"const": {"a": [1, 2]}}, '{"a": [1, 3]}', '{"a": [1, ', "/a/1", "const"),
        ({"minItems": 2}, "[1 ]", "[1 ", "", "minItems"),
        ({"maxItems": 2}, "[1, 2, 3, 4]", "[1, 2", "/2", "maxItems"),
        ({"maxItems": 2}, "[1, 2 ,", "[1, 2 ", "/2", "maxItems"),
        ({"maxItems": 0}, "[ 1]", "[ ", "/0", "maxItems"),
        ({"minProperties": 2}, '{"a": 1}', '{"a": 1', "", "minProperties"),
        ({"maxProperties": 1}, '{"a": 1, "a": 2, "b": 3}', '{"a": 1, "a": 2', "/b", "maxProperties"),
        ({"maxProperties": 1}, '{"a": 1, "b', '{"a": 1', "", "maxProperties"),
        ({"uniqueItems": True}, '[{"a": 1}, 1, {"a": 1.0}]', '[{"a": 1}, 1', "/2", "uniqueItems"),
        ({"uniqueItems": True}, "[1, 1, 2", "[1", "/1", "uniqueItems"),
        ({"minLength": 3}, r'"a\u0062"', r'"a\u0062', "", "minLength"),
        ({"maxLength": 2}, r'"a\ud83d\ude00bc"', r'"a\ud83d\ude00', "", "maxLength"),
        ({"maxLength": 2}, r'"a\n\u00', r'"a\n', "", "maxLength"),
        ({"items": {"pattern": "^a"}}, '["a", "b"]', '["a", ', "/1", "pattern"),
        ({"items": {"minimum": 3}}, "[3, 2]", "[3, ", "/1", "minimum"),
        ({"maximum": 3}, "40", "", "", "maximum"),
        ({"items": {"maximum": 3}}, "[40", "[", "/0", "maximum"),
        ({"items": {"not": {"type": "null"}}}, "[1, null]", "[1", "/1", "not"),
        ({"contains": {"const": 1}}, " [2]", " ", "", "contains"),
        (NUMBER_OR_TAGGED, '{"kind": "b", "x": 1}', '{"kind": "b", "x": ', "/x", "type"),
        (NUMBER_OR_TAGGED, '{"x": "1", "kind": "c"}', '{"x": "1", "kind": "', "/kind", "const"),
        (NUMBER_OR_TAGGED, '{"kind": "b", "x": 1, ', '{"kind": "b", "x": ', "/x", "type"),
        ({"items": {"anyOf": [{"type": "null"}, {"type": "string"}]}}, "[1]", "[", "/0", "anyOf"),
        ({"items": {"oneOf": [{"minimum": 1}, {"maximum": 3}]}}, "[0, 2]", "[0, ", "/1", "oneOf"),
        ({"$ref": "#/$defs/c", "$defs": {"c": CLOSED}}, '{"x": 1}', '{"', "/x", "additionalProperties"),
        ({"items": {}}, r'["a\ud800"]', '["a', "/0", None),
        ({"items": {"type": "string"}}, r'[1, "a\ud800"]', "[", "/0", "type"),
    ],
)
def test_an_answer_goes_wrong_at_the_value_or_key_that_its_schema_refuses(schema, text, stays, pointer, keyword):
    assert located(text, task(schema=schema)) == ("schema", stays, pointer, keyword)


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "object", "required": ["a"], "minProperties": 2}, '{"b": 1'),
        (CLOSED, '{"city": "x", "cou'),
        (CLOSED, '{"city": "x", "count":'),
        (CLOSED, '{"city": "x",'),
        (CLOSED, '{"city": "x", "count": -'),
        ({"enum": ["Rome", [1.5]]}, "[1."),
        ({"enum": ["Rome", [1.5]]}, '"R\\u006'),
        ({"items": {"minimum": 10, "multipleOf": 5}}, "[1"),
        ({"uniqueItems": True}, "[1, 1"),
        ({"items": {"minLength": 5, "maxLength": 5}}, '["abc\\'),
        ({"anyOf": [{"required": ["a"]}, {"required": ["b"]}]}, '{"c": 1,'),
        ({"items": {}}, r'["a\ud83d'),
        ({"contains": {"type": "null"}}, "[1, tr"),
    ],
)
def test_what_is_merely_unfinished_goes_wrong_at_its_end(schema, text):
    fault = locate_fault(text, task(schema=schema))
    assert (fault.kind, fault.offset) == ("syntax", len(text))


@pytest.mark.parametrize(
    ("schema", "text", "expected"),
    [
        ({"type": "object"}, " [1]", ("root_type", " ", "", None)),
        ({"type": "integer"}, "1.5", ("root_type", "", "", None)),
        ({"type": "array", "items": {"type": "object"}}, '"[1', ("root_type", "", "", None)),
    ],
)
def test_a_root_of_another_type_goes_wrong_at_its_first_character(schema, text, expected):
    assert located(text, task(schema=schema)) == expected


def test_a_schema_says_why_and_the_accepted_values_say_where():
    schema = {"properties": {"n": {"type": "integer"}, "city": {"pattern": "^R"}}, "required": ["n"]}
    asked = task('{"n": 12, "city": "Rome"}', '{"n": 12, "city": "Ravenna"}', schema=schema)
    assert located('{"n": 1.5}', asked) == ("schema", '{"n": 1', "/n", "type")
    assert located('{"n": 13}', asked) == ("value", '{"n": 1', "/n", None)
    assert located('{"city": "Rimini", "n": "12"}', asked) == ("value", '{"city": "R', "/city", None)
    assert located('{"city": "Paris", "n": 12}', asked) == ("schema", '{"city": "', "/city", "pattern")
    assert located('{"city": "Rome"}', asked) == ("schema", '{"city": "Rome"', "", "required")


def test_an_integer_may_be_a_decimal_where_the_schema_says_number():
    asked = task('{"x": 1, "y": 1}', schema={"properties": {"x": {"type": "number"}}})
    assert located('{"x": 1.00, "y": 1.0}', asked) == ("value", '{"x": 1.00, "y": 1', "/y", None)
    assert located('{"x": 1.01, "y": 1}', asked) == ("value", '{"x": 1.0', "/x", None)


@pytest.mark.parametrize(
    ("text", "kind", "stays"),
    [
        ("```json\n[1, 3]\n```", "value", "```json\n[1, "),
        ("```json\n[1, 2)\n```", "syntax", "```json\n[1, 2"),
        ("```json\n[1, 2\n ```", "syntax", "```json\n[1, 2\n "),
        ("```json\n[1, 2", "syntax", "```json\n[1, 2"),
        ("```\n[1, 2]\n", "syntax", "```\n[1, 2]\n"),
        ("```\n[1, 2]\n```\nDone.", "syntax", "```\n[1, 2]\n```\n"),
        ("```\n[1, 2]\n```\n```\n[1, 2]\n```", "syntax", "```\n[1, 2]\n```\n"),
        ("```json\n```", "syntax", "```json\n"),
        ("Here:\n```json\n[1, 2]\n```", "syntax", ""),
    ],
)
def test_a_fault_inside_a_fence_is_counted_from_the_start_of_the_text(text, kind, stays):
    assert located(text, task("[1, 2]", fences="unwrap"))[:2] == (kind, stays)
    assert located(text, task("[1, 2]"))[:2] == ("syntax", "")


def test_a_task_without_schema_and_accepted_value_knows_faults_of_syntax_alone():
    assert located('{"a": 1,}', PLAIN) == ("syntax", '{"a": 1,', "", None)
    assert locate_fault('{"a": 1}', PLAIN) is None


def test_a_long_answers_late_fault_is_found_with_the_accepted_value_alone():
    schema, right = {"items": {"type": "integer"}}, [1] * 5_000
    for wrong_at, offset in ((2_000, 6_001), (4_900, 14_701)):
        text = json.dumps([*right[:wrong_at], "x", *right[wrong_at + 1 :]])
        fault = locate_fault(text, task(json.dumps(right), schema=schema))
        assert (fault.kind, fault.offset) == ("schema", offset)
        assert locate_fault(text, task(schema=schema)).offset == (offset if wrong_at == 2_000 else 0)


def test_a_format_is_a_fault_on_request_alone():
    asked = task(schema={"items": {"format": "date"}})
    assert locate_fault('["tomorrow"]', asked) is None
    assert locate_fault('["tomorrow"]', asked, assert_formats=True).offset == 1


def test_a_broken_task_is_not_the_answers_fault():
    with pytest.raises(DataError, match="target must be JSON"):
        locate_fault("1", task("[1"))


# The independent writer.


NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?")


class _CannotError(Exception):
    pass


def spelled(value: object, beginning: str) -> str | None:
    """Some spelling of the value that starts with the beginning."""
    try:
        text, rest = _spell(value, beginning)
    except _CannotError:
        return None
    return text + rest if not rest.strip(SPACES) else None


def _space(rest: str) -> tuple[str, str]:
    bare = rest.lstrip(SPACES)
    return rest[: len(rest) - len(bare)], bare


def _spell(value: object, rest: str) -> tuple[str, str]:
    """The value's spelling, and what it leaves of the beginning."""
    space, rest = _space(rest)
    if isinstance(value, dict):
        text, rest = _spell_object(dict(value), rest)
    elif isinstance(value, list):
        text, rest = _spell_array(value, rest)
    elif isinstance(value, str):
        text, rest = _spell_string(value, rest)
    elif value is None or isinstance(value, bool):
        text, rest = _take(json.dumps(value), rest)
    else:
        text, rest = _spell_number(value, rest)
    return space + text, rest


def _take(wanted: str, rest: str) -> tuple[str, str]:
    if not (rest.startswith(wanted) or wanted.startswith(rest)):
        raise _CannotError
    return wanted, rest[len(wanted) :]


def _spell_number(value: float, rest: str) -> tuple[str, str]:
    written = re.match(r"[-+.0-9eE]*", rest)[0]
    same = NUMBER.fullmatch(written) and Decimal(written) == Decimal(repr(value))
    if same and isinstance(value, float) == any(mark in written for mark in ".eE"):
        return written, rest[len(written) :]
    return _take(repr(value) + "0" * (max(0, len(written) - len(repr(value))) * isinstance(value, float)), rest)


def _spell_string(value: str, rest: str) -> tuple[str, str]:
    text, rest = _take('"', rest)
    for character in value:
        code = character.encode("utf-16-be").hex()
        digits = "".join(f"\\u{code[at : at + 4]}" for at in range(0, len(code), 4))
        short = json.dumps(character)[1:-1]
        raw = [] if short.startswith("\\") and character.isascii() else [character]
        forms = [*raw, digits, short, "\\/" if character == "/" else short]
        for form in forms:
            begun = rest[: len(form)]
            if form.lower() == begun.lower() if form == digits else form == begun:
                break
        else:
            starts = [form for form in forms if form.startswith(rest.lower() if form == digits else rest)]
            if not starts:
                raise _CannotError
            begun = rest + starts[0][len(rest) :]
        text, rest = text + begun, rest[len(begun) :]
    closing, rest = _take('"', rest)
    return text + closing, rest


def _spell_array(value: list[object], rest: str) -> tuple[str, str]:
    text, rest = _take("[", rest)
    for index, item in enumerate(value):
        if index:
            space, rest = _space(rest)
            comma, rest = _take(",", rest)
            text += space + comma
        spelling, rest = _spell(item, rest)
        text += spelling
    space, rest = _space(rest)
    closing, rest = _take("]", rest)
    return text + space + closing, rest


def _spell_object(missing: dict[str, object], rest: str) -> tuple[str, str]:
    text, rest = _take("{", rest)
    first = True
    while missing:
        if not first:
            space, rest = _space(rest)
            comma, rest = _take(",", rest)
            text += space + comma
        first = False
        space, rest = _space(rest)
        for key in missing:
            try:
                name, left = _spell_string(key, rest)
                break
            except _CannotError:
                continue
        else:
            raise _CannotError
        before, left = _space(left)
        colon, left = _take(":", left)
        value, rest = _spell(missing.pop(key), left)
        text += space + name + before + colon + value
    space, rest = _space(rest)
    closing, rest = _take("}", rest)
    return text + space + closing, rest


CHARACTER = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{0,2}(?:\\(?:u[0-9a-fA-F]{0,4}|.)?|.)?|\\(?:u[0-9a-fA-F]{0,4}|.)?|.", re.DOTALL
)
"""Or an escape, which is never cut in two, or as much of one as there is."""
KEYS = st.sampled_from(["a", "ab", "b", "\u00e9", "\U0001f600"])
LEAVES = st.sampled_from(
    [None, True, False, 0, 1, 12, 120, 1.5, 12.25, "", "a", "ab", '"\\', "\u00e9\U0001f600", "x/y"]
)
WANTED = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=6
)
PIECES = st.sampled_from([*'[]{}:,"\\ 0125.nt\n/abx', "\\u00e9", "\\ud83d\\ude00", "\\u00", '"a"', ', "b": 1', "true"])


@st.composite
def writings(draw, value: object) -> str:
    """A value with keys in any order and in any style, and perhaps a change."""
    shuffled = _shuffled(value, draw(st.randoms(use_true_random=False)))
    style = {"ensure_ascii": draw(st.booleans()), "indent": draw(st.sampled_from([None, 1]))}
    text = json.dumps(shuffled, **style, separators=draw(st.sampled_from([(",", ":"), (" , ", ": ")])))
    at = draw(st.integers(0, len(text)))
    return draw(
        st.sampled_from(
            [text, text[:at], text[:at] + draw(PIECES) + text[at:], text[:at] + draw(PIECES) + text[at + 1 :]]
        )
    )


def _shuffled(value, random_source):
    if isinstance(value, list):
        return [_shuffled(item, random_source) for item in value]
    if isinstance(value, dict):
        return {key: _shuffled(value[key], random_source) for key in random_source.sample(list(value), len(value))}
    return value


def has_repeated_key(text: str) -> bool:
    seen: list[bool] = []
    json.loads(text, object_pairs_hook=lambda pairs: seen.append(len(pairs) > len(dict(pairs))))
    return any(seen)


@settings(deadline=None, max_examples=500)
@given(st.lists(WANTED, min_size=1, max_size=3), st.data())
def test_up_to_its_fault_and_no_further_an_answer_can_be_continued_into_an_accepted_value(values, data):
    asked = task(*map(json.dumps, values))
    text = data.draw(st.one_of(*(writings(value) for value in [*values, data.draw(WANTED)])))
    fault = locate_fault(text, asked)
    assert (fault is None) == verify(text, asked).passed
    if fault is None:
        assert has_repeated_key(text) or any(spelled(value, text) for value in values)
        return
    completions = [spelled(value, text[: fault.offset]) for value in values]
    assert all(verify(each, asked).passed and each.startswith(text[: fault.offset]) for each in completions if each)
    assert any(completions)
    refused = CHARACTER.match(text, fault.offset)
    assert not (refused and any(spelled(value, text[: refused.end()]) for value in values))


MEMBERS = [..., 1, 2, None, "a", "ab"]
OBJECTS = [
    {key: value for key, value in (("a", one), ("ab", other)) if value is not ...}
    for one in MEMBERS
    for other in MEMBERS
]
ITEMS = [
    [{"a": 1}, 1],
    [1, 2, 3],
    *(list(items) for size in range(5) for items in itertools.product((1, 2, "a"), repeat=size)),
]
POOL = [None, True, 0, 1, 2, 3, "", "a", "ab", "abc", *OBJECTS, *ITEMS]
SCALAR_SCHEMAS = st.sampled_from(
    [
        {"enum": [1, 2]},
        {"enum": ["a", "ab", 1]},
        {"const": "ab"},
        {"type": "null"},
        {"anyOf": [{"const": "ab"}, {"enum": [1, 2]}]},
        {"type": ["integer", "null"], "enum": [1, None]},
    ]
)
OBJECT_SCHEMAS = st.fixed_dictionaries(
    {
        "type": st.just("object"),
        "properties": st.fixed_dictionaries({"a": SCALAR_SCHEMAS, "ab": SCALAR_SCHEMAS}),
        "additionalProperties": st.just(False),
    },
    optional={"required": st.sampled_from([["a"], ["ab"], ["a", "ab"]]), "minProperties": st.sampled_from([1, 2])},
)
LIST_SCHEMAS = st.fixed_dictionaries(
    {
        "type": st.just("array"),
        "items": st.sampled_from([{"enum": [1, 2]}, {"enum": [1, "a"]}, {"const": 1}]),
    },
    optional={"minItems": st.just(1), "maxItems": st.sampled_from([1, 2])},
)
FINITE_SCHEMAS = st.one_of(
    SCALAR_SCHEMAS,
    OBJECT_SCHEMAS,
    LIST_SCHEMAS,
    st.lists(OBJECT_SCHEMAS, min_size=2, max_size=2).map(lambda two: {"anyOf": two}),
)


@settings(deadline=None, max_examples=400)
@given(FINITE_SCHEMAS, st.data())
def test_up_to_its_fault_an_answer_can_be_continued_into_a_value_that_fits_the_schema(schema, data):
    fitting = [value for value in POOL if jsonschema.Draft202012Validator(schema).is_valid(value)]
    asked = task(schema=schema)
    # To a schema 1.0 is 1; the writer has no such spelling.
    text = data.draw(st.sampled_from(POOL).flatmap(writings).filter(lambda text: "." not in text))
    fault = locate_fault(text, asked)
    assert (fault is None) == verify(text, asked).passed
    keys = re.findall(r'[{,]\s*("ab?")', text[: fault.offset if fault else 0])
    if fault and fitting and len(keys) == len(set(keys)):  # a key may be repeated, but the writer does not
        completed = [spelled(value, text[: fault.offset]) for value in fitting]
        assert any(completed)
        assert all(verify(each, asked).passed for each in completed if each)


ANY_SCHEMA = {
    "$defs": {
        "node": {
            "anyOf": [
                {"type": "array", "items": {"$ref": "#/$defs/node"}, "uniqueItems": True, "maxItems": 2},
                {"properties": {"a": {"type": "integer", "minimum": 3}}, "patternProperties": {"b": False}},
                {"type": "string", "maxLength": 2, "pattern": "a"},
            ]
        }
    },
    "oneOf": [{"$ref": "#/$defs/node"}, {"enum": [1, {"a": [True]}]}],
    "propertyNames": {"minLength": 1},
    "unevaluatedProperties": {"not": {"type": "null"}},
    "if": {"required": ["a"]},
    "then": {"maxProperties": 2},
    "else": {"minProperties": 1, "contains": {"const": 1}},
}
NEAR_JSON = st.text(alphabet='[]{}:,"\\ude8019.-truefalsn \nab\x00\u00e9\ud800E', max_size=24)


@settings(deadline=None, max_examples=300)
@given(st.text() | NEAR_JSON | WANTED.flatmap(writings), st.sampled_from(["forbid", "unwrap"]), st.booleans())
@example('{"\\ud800": 1', "forbid", False)
@example("[1e40", "forbid", False)
@example("1" + "0" * 400 + ".", "forbid", False)
@example("[" * 201, "forbid", True)
@example("[" * 150 + "1," * 2_000, "forbid", True)
@example('"' + "a" * 70_000, "forbid", True)
def test_no_text_whatever_makes_it_raise(text, fences, with_target):
    asked = task(*(["[[1]]", "null"] if with_target else []), schema=ANY_SCHEMA, fences=fences)
    fault = locate_fault(text, asked)
    assert (fault is None) == verify(text, asked).passed
    assert fault is None or 0 <= fault.offset <= len(text)
