"""The verdict, tier by tier, and the policies that a task sets."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import DataError
from pipelines.records import Task
from pipelines.rewards import locate_fault, verify
from tests.made import make_task

PLAIN = Task(id="t", family="f", key="k", split="train", prompt="Write a JSON list of 1 through 3.")
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)
)


def task(**fields) -> Task:
    return dataclasses.replace(PLAIN, **fields)


def test_the_handouts_good_sample_outranks_its_bad_one():
    asked = task(schema='{"type": "array", "items": {"type": "integer"}}', targets=("[1, 2, 3]",))
    good, bad = verify("[1, 2, 3]", asked), verify("[1, 2, 3, 4)", asked)
    assert (good.tiers, good.reason, good.offset) == ((True,) * 4, None, None)
    assert (bad.tiers, bad.reason, bad.offset) == ((False,) * 4, "unexpected_character", 11)
    assert good.tiers > bad.tiers


@pytest.mark.parametrize(
    ("fields", "tiers"),
    [
        ({}, (True, None, None, None)),
        ({"schema": "{}"}, (True, None, True, None)),
        ({"schema": '{"type": ["array", "null"]}'}, (True, None, True, None)),
        ({"schema": '{"type": "array"}'}, (True, True, True, None)),
        ({"targets": ("[1]",)}, (True, True, None, True)),
        ({"schema": "true", "targets": ("[1]",)}, (True, True, True, True)),
    ],
)
def test_a_tier_that_the_task_does_not_define_is_none(fields, tiers):
    verdict = verify("[1]", task(**fields))
    assert (verdict.parses, verdict.root_type, verdict.schema_valid, verdict.exact_match) == tiers


@pytest.mark.parametrize(
    ("completion", "tiers", "reason"),
    [
        ("[1, 2", (False, False, False, False), "unexpected_end"),
        ("{}", (True, False, False, False), "wrong_root_type"),
        ('["1"]', (True, True, False, False), "schema_violation"),
        ("[2]", (True, True, True, False), "wrong_value"),
        ("[1]", (True, True, True, True), None),
    ],
)
def test_once_a_tier_fails_the_later_ones_do_too(completion, tiers, reason):
    verdict = verify(completion, task(schema='{"type": "array", "items": {"type": "integer"}}', targets=("[1]",)))
    assert (verdict.tiers, verdict.reason) == (tiers, reason)


@pytest.mark.parametrize(
    ("schema_type", "completion", "passes"),
    [
        ("integer", "1", True),
        ("integer", "1.0", True),
        ("integer", "1.5", False),
        ("number", "1.5", True),
        ("number", "true", False),
        ("boolean", "1", False),
        ("null", "null", True),
        ("string", '""', True),
        ("object", "[]", False),
    ],
)
def test_the_root_type_is_the_one_that_the_schema_names(schema_type, completion, passes):
    assert verify(completion, task(schema=json.dumps({"type": schema_type}))).root_type is passes


@pytest.mark.parametrize(
    ("target", "answer", "exact_match"),
    [
        ("[1, 2]", "[2, 1]", False),
        ('{"a": 1, "b": 2}', '{"b": 2, "a": 1}', True),
        ('{"a": 1}', '{"a": 1, "b": null}', False),
        ("1", "true", False),
        ("1", "1.0", False),
        ("1.0", "1", False),
        ("1.0", "1.00", True),
        ("1.0", "10e-1", True),
        ("0.0", "-0.0", True),
        ("0", "-0", True),
        ("3.0", "3.0000000000000000001", False),
        ("0.1", "0.1000000000000000055511151231257827", False),
        ("0.0", "1e-400", False),
        ("0.0", "0e999999999999999999999999", True),
        ("1e-999999999999999999999", "0.1e-999999999999999999998", True),
        ("1e5", "100000.0", True),
        (str(2**64), str(2**64 + 1), False),
        (str(2**64), "1.8446744073709551616e19", False),
        ('"\\u00e9"', '"\u00e9"', True),
        ('"e\u0301"', '"\u00e9"', False),
        ('"\\ud800"', '"\\uD800"', True),
        ("null", "0", False),
        ("[]", "{}", False),
        ('{"a": 1}', '{"a": 2, "a": 1}', True),
    ],
)
def test_equality_is_of_value_and_type_without_a_schema(target, answer, exact_match):
    assert bool(verify(answer, task(targets=(target,))).exact_match) == exact_match


@pytest.mark.parametrize(
    ("schema", "target", "answer", "exact_match"),
    [
        ({"type": "number"}, "1", "1.0", True),
        ({"type": ["number", "null"]}, "1.0", "1", True),
        ({"type": "integer"}, "1", "1.0", False),
        ({"type": "number"}, "3", "3.0000000000000000001", False),
        ({"type": "number"}, str(2**64), "18446744073709551616.0", True),
        ({"type": "number"}, str(2**64), "18446744073709551617.0", False),
        ({"properties": {"a": {"type": "number"}}}, '{"a": 1, "b": 1}', '{"b": 1, "a": 1.0}', True),
        ({"properties": {"a": {"type": "number"}}}, '{"a": 1, "b": 1}', '{"b": 1.0, "a": 1}', False),
        ({"items": {"type": "number"}}, "[1, 2]", "[1.0, 2.0]", True),
        ({"prefixItems": [{"type": "number"}]}, "[1, 2]", "[1.0, 2]", True),
        ({"prefixItems": [{"type": "number"}]}, "[1, 2]", "[1.0, 2.0]", False),
        ({"prefixItems": [{}], "items": {"type": "number"}}, "[1, 2]", "[1, 2.0]", True),
        ({"items": {"items": {"type": "number"}}}, "[[1]]", "[[1e0]]", True),
        ({"type": "number"}, "1", "true", False),
        ({"$ref": "#/$defs/n", "$defs": {"n": {"type": "number"}}}, "1", "1.0", False),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "prefixItems": True}, "[1]", "[1.0]", False),
    ],
)
def test_a_float_equals_an_integer_just_where_the_schema_says_number(schema, target, answer, exact_match):
    assert bool(verify(answer, task(schema=json.dumps(schema), targets=(target,))).exact_match) == exact_match


@settings(deadline=None, max_examples=150)
@given(VALUES, st.randoms(use_true_random=False))
def test_any_value_equals_itself_whatever_its_keys_order_and_spacing(value, random_source):
    assert verify(json.dumps(shuffled(value, random_source), indent=1), task(targets=(json.dumps(value),))).passed


def shuffled(value, random_source):
    if isinstance(value, list):
        return [shuffled(item, random_source) for item in value]
    if not isinstance(value, dict):
        return value
    keys = random_source.sample(list(value), len(value))
    return {key: shuffled(value[key], random_source) for key in keys}


@settings(deadline=None, max_examples=150)
@given(VALUES, VALUES)
def test_two_values_are_exact_just_when_their_canonical_texts_are_equal(value, other):
    canonical = [
        json.dumps(json.loads(json.dumps(each).replace("-0.0", "0.0")), sort_keys=True) for each in (value, other)
    ]
    assert verify(json.dumps(other), task(targets=(json.dumps(value),))).passed == (canonical[0] == canonical[1])


@settings(deadline=None, max_examples=200)
@given(st.text() | VALUES.map(json.dumps), st.sampled_from(["stop", "length"]), st.sampled_from(["forbid", "unwrap"]))
def test_a_completion_gets_a_verdict_whatever_it_is(completion, finish_reason, fences):
    asked = task(schema='{"type": "object", "uniqueItems": true, "minProperties": 1}', targets=("{}",), fences=fences)
    verdict = verify(completion, asked, finish_reason)
    assert verdict == verify(completion, asked, finish_reason)
    assert list(verdict.tiers) == sorted(verdict.tiers, reverse=True)
    assert (verdict.reason is None) == verdict.passed
    assert (verdict.offset is None) == verdict.parses


@pytest.mark.parametrize(
    ("completion", "reason", "offset"),
    [("[1, 2, 3]", "truncated", 9), ("[1, 2, 3", "unexpected_end", 8), ("[1, 2, x", "unexpected_character", 7)],
)
def test_a_completion_cut_off_at_the_token_limit_passes_no_tier(completion, reason, offset):
    verdict = verify(completion, task(targets=("[1, 2, 3]",)), "length")
    assert (verdict.tiers, verdict.reason, verdict.offset) == ((False,) * 3, reason, offset)
    assert verdict.finish_reason == "length"


@pytest.mark.parametrize(
    "completion",
    ["```json\n[1]\n```", "```\n[1]\n```", " \n```json \r\n[1]\r\n```\n", "```JSON\n\n[1]\n\n  ```", "[1]"],
)
def test_a_fence_around_the_whole_answer_comes_off_where_the_task_allows_it(completion):
    verdict = verify(completion, task(targets=("[1]",), fences="unwrap"))
    assert verdict.passed
    assert verdict.notes == (("unwrapped_fence",) if "`" in completion else ())


@pytest.mark.parametrize(
    "completion",
    [
        "Here:\n```json\n[1]\n```",
        "```json\n[1]\n```\nDone.",
        "```json\n[1]\n```\n```json\n[1]\n```",
        "```python\n[1]\n```",
        "```json\n[1]",
        "```json [1] ```",
        "`[1]`",
        "```json\n```",
        "``````",
        "~~~\n[1]\n~~~",
        "````\n[1]\n````",
        "```\n```json\n[1]\n```\n```",
        "\u00a0```json\n[1]\n```",
    ],
)
def test_json_is_never_dug_out_of_anything_else(completion):
    assert not verify(completion, task(targets=("[1]",), fences="unwrap")).parses


def test_a_fence_is_a_mistake_unless_the_task_allows_it():
    verdict = verify("```json\n[1]\n```", task(targets=("[1]",)))
    assert (verdict.parses, verdict.reason, verdict.offset) == (False, "unexpected_character", 0)


def test_a_fault_inside_a_fence_is_located_in_the_completion():
    verdict = verify("```json\n[1, 2)\n```", task(fences="unwrap"))
    assert (verdict.reason, verdict.offset, verdict.notes) == ("unexpected_character", 13, ("unwrapped_fence",))


def test_oddities_that_the_grammar_permits_are_accepted_and_noted():
    verdict = verify('{"a": 1, "a": "\\ud800"}', PLAIN)
    assert (verdict.passed, verdict.notes) == (True, ("duplicate_key", "lone_surrogate"))


@pytest.mark.parametrize("completion", ['"\\ud800"', '["\\ud800"]', '{"\\ud800": 1}'])
@pytest.mark.parametrize("schema", ["{}", '{"pattern": "a"}', '{"properties": {"a": {}}}', '{"uniqueItems": true}'])
def test_a_lone_surrogate_is_valid_under_no_schema(completion, schema):
    assert verify(completion, task(schema=schema)).schema_valid is False


def test_formats_are_asserted_on_request_alone():
    asked = task(schema='{"format": "date"}')
    assert verify('"tomorrow"', asked).passed
    assert not verify('"tomorrow"', asked, assert_formats=True).passed


def test_a_broken_schema_or_target_is_the_tasks_mistake_and_not_the_completions():
    with pytest.raises(DataError, match="schema must be JSON"):
        verify("1", task(schema="{"))
    with pytest.raises(DataError, match="target must be JSON"):
        verify("1", task(targets=("[1",)))


@pytest.mark.parametrize(
    ("completion", "exact_match"), [("[1, 2]", True), ("[2, 1]", True), ("[1]", False), ('{"a": 1}', False)]
)
def test_a_completion_is_exact_when_it_equals_any_accepted_value(completion, exact_match):
    verdict = verify(completion, task(targets=("[1, 2]", "[2, 1]")))
    assert verdict.exact_match is exact_match
    assert verdict.root_type is completion.startswith("[")


def test_accepted_values_of_several_types_leave_the_root_open():
    asked = task(targets=("[]", "null"))
    assert [verify(text, asked).root_type for text in ("[]", "null", "{}")] == [None] * 3
    assert [verify(text, asked).exact_match for text in ("[]", "null", "{}")] == [True, True, False]


def test_an_answer_schema_decides_what_is_right_and_the_verifier_alone_sees_it():
    task = make_task(
        schema='{"type": "object"}', answer_schema='{"properties": {"n": {"minimum": 5}}, "required": ["n"]}'
    )
    right, wrong, invalid = (verify(text, task) for text in ('{"n": 7}', '{"n": 4}', "[7]"))
    assert (right.passed, right.exact_match) == (True, True)
    assert (wrong.schema_valid, wrong.exact_match, wrong.reason) == (True, False, "wrong_value")
    assert (invalid.schema_valid, invalid.exact_match) == (False, False)
    fault = locate_fault('{"n": 4}', task)
    assert (fault.kind, fault.pointer, fault.offset) == ("value", "/n", 6)
    assert locate_fault('{"n": 7}', task) is None
