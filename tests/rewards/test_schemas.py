"""Which values fit a schema, which schemas compile, and what the verifier underneath may not do."""

from __future__ import annotations

import json

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import DataError
from pipelines.rewards import MAX_DEPTH, check_task, compile_schema, parse_json

DEEP = "[" * MAX_DEPTH + "]" * MAX_DEPTH
TYPES = st.sampled_from(["null", "boolean", "integer", "number", "string", "array", "object"])
LEAVES = st.one_of(
    st.booleans(),
    st.fixed_dictionaries({"type": TYPES}),
    st.fixed_dictionaries({"minimum": st.integers(-2, 2), "exclusiveMaximum": st.integers(-2, 2)}),
    st.fixed_dictionaries({"multipleOf": st.sampled_from([1, 2, 0.5])}),
    st.fixed_dictionaries({"minLength": st.integers(0, 2), "maxLength": st.integers(0, 2)}),
    st.fixed_dictionaries({"minItems": st.integers(0, 2), "uniqueItems": st.booleans()}),
    st.fixed_dictionaries({"required": st.lists(st.sampled_from("ab"), unique=True), "maxProperties": st.just(1)}),
    st.fixed_dictionaries({"enum": st.lists(st.sampled_from([None, True, 0, 1, "a", [1], {"a": 1}]), min_size=1)}),
)
SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.fixed_dictionaries({"items": inner}),
        st.fixed_dictionaries({"prefixItems": st.lists(inner, min_size=1, max_size=2), "items": inner}),
        st.fixed_dictionaries(
            {"properties": st.dictionaries(st.sampled_from("ab"), inner), "additionalProperties": inner}
        ),
        st.fixed_dictionaries({"not": inner}),
        *(
            st.fixed_dictionaries({name: st.lists(inner, min_size=1, max_size=2)})
            for name in ("allOf", "anyOf", "oneOf")
        ),
    ),
    max_leaves=4,
)
SCALARS = (
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.5, 1.0, "", "a", "\u00e9\U0001f600", "aaa"])
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner), max_leaves=6
)


def accepts(schema: str, document: str, assert_formats: bool = False) -> bool:
    return compile_schema(schema, assert_formats).accepts(parse_json(document))


@settings(deadline=None, max_examples=300)
@given(SCHEMAS, VALUES)
def test_a_value_fits_just_when_another_validator_says_so(schema, value):
    expected = jsonschema.Draft202012Validator(schema).is_valid(value)
    assert accepts(json.dumps(schema), json.dumps(value)) == expected


@pytest.mark.parametrize(
    ("draft", "keyword", "asserted"),
    [
        ("http://json-schema.org/draft-04/schema#", '"const": 1', False),
        ("http://json-schema.org/draft-06/schema#", '"const": 1', True),
        ("http://json-schema.org/draft-06/schema#", '"if": {}, "else": {}, "then": false', False),
        ("http://json-schema.org/draft-07/schema#", '"if": {}, "else": {}, "then": false', True),
        ("http://json-schema.org/draft-07/schema#", '"dependentRequired": {"a": ["b"]}', False),
        ("https://json-schema.org/draft/2019-09/schema", '"dependentRequired": {"a": ["b"]}', True),
        ("https://json-schema.org/draft/2019-09/schema", '"prefixItems": [false]', False),
        ("https://json-schema.org/draft/2020-12/schema", '"prefixItems": [false]', True),
    ],
)
def test_the_schema_says_which_draft_it_is_of(draft, keyword, asserted):
    document = "[2]" if "prefixItems" in keyword else '{"a": 2}'
    assert accepts(f'{{"$schema": "{draft}", {keyword}}}', document) != asserted


def test_a_schema_without_a_draft_is_of_2020_12():
    assert not accepts('{"prefixItems": [false]}', "[2]")


def test_formats_are_asserted_on_request_alone():
    schema = '{"format": "ipv4"}'
    assert accepts(schema, '"no address"')
    assert not accepts(schema, '"no address"', assert_formats=True)
    assert accepts(schema, '"127.0.0.1"', assert_formats=True)


@pytest.mark.parametrize(
    ("schema", "key"),
    [
        ("{", "unexpected_end at character 1"),
        ("[1]", "does not compile"),
        ('{"type": "text"}', "text"),
        ('{"pattern": "("}', "pattern|regex"),
        ('{"$schema": "http://example.com/own"}', "http://example.com/own"),
        ('{"$ref": "#/$defs/missing"}', "/\\$defs/missing"),
        ('{"const": "\\ud800"}', "does not compile"),
        ('{"$ref": "http://127.0.0.1:9/schema"}', "references outside .* http://127.0.0.1:9/schema"),
        ('{"$ref": "file:///etc/hostname"}', "file:///etc/hostname"),
        ('{"$id": "file:///etc/", "$ref": "hostname"}', "file:///etc/hostname"),
    ],
)
def test_a_schema_that_does_not_compile_is_one_line(schema, key):
    with pytest.raises(DataError, match=key) as caught:
        compile_schema(schema)
    assert "\n" not in str(caught.value)


def test_the_same_schema_is_compiled_once():
    assert compile_schema('{"minimum": 7}') is compile_schema('{"minimum": 7}')


@pytest.mark.parametrize(
    ("schema", "document", "fits"),
    [
        ('{"type": "integer"}', str(2**70), True),
        ('{"type": "integer"}', "1" + "0" * 400, True),
        ('{"minimum": 1180591620717411303424}', str(2**70 - 1), False),
        ('{"const": 1180591620717411303424}', str(2**70), True),
        ('{"const": 1180591620717411303424}', str(2**70 + 1), False),
        ('{"multipleOf": 3}', str(3 * 10**400 + 1), False),
        ('{"maximum": 10}', "1" + "0" * 400, False),
        ('{"exclusiveMinimum": 9007199254740992}', "9007199254740993", True),
        ('{"multipleOf": 0.01}', "19.99", True),
        ('{"type": "integer"}', "1.0", True),
        ('{"const": 1}', "true", False),
        ('{"items": {"$ref": "#"}, "type": "array"}', DEEP, True),
        (f'{{"const": {"[" * 150 + "]" * 150}}}', "[" * 150 + "]" * 150, True),
        ('{"type": "array", "uniqueItems": true}', f"[{DEEP[1:-1]}, {DEEP[1:-1]}]", False),
        ('{"pattern": "^(a+)+$"}', '"' + "a" * 33 + '!"', False),
    ],
)
def test_large_deep_and_hostile_values_are_judged_exactly(schema, document, fits):
    assert accepts(schema, document) == fits


@pytest.mark.parametrize(
    ("items", "unique"),
    [
        ("9007199254740993, 9007199254740992", True),
        ("9007199254740993, 9007199254740993", False),
        ("9007199254740993, 1, 1.0", False),
        ("9007199254740993, 1, true", True),
        ('9007199254740993, "1", 1', True),
        ('9007199254740993, {"a": 1, "b": [2.0]}, {"b": [2], "a": 1}', False),
        ('9007199254740993, {"a": 1.5}, {"a": 1.50}', False),
        ("9007199254740993, 0.0, -0.0", False),
        ("9007199254740993, [1, 2], [2, 1]", True),
        (", ".join(str(2**63 + number) for number in range(3000)), True),
        (", ".join(str(2**63 + number % 2999) for number in range(3000)), False),
    ],
)
def test_items_beside_large_integers_are_unique_as_json_schema_has_it(items, unique):
    assert accepts('{"uniqueItems": true}', f"[{items}]") == unique
    assert accepts('{"uniqueItems": false}', f"[{items}]")


def test_a_task_that_no_completion_could_meet_is_refused():
    with pytest.raises(DataError, match="target must be valid under the schema, got '\\[1\\]'; fix one of them"):
        check_task('{"type": "object"}', "[1]")
    with pytest.raises(DataError, match="target must be JSON, got trailing_comma at character 3; fix it"):
        check_task(None, "[1,]")


@pytest.mark.parametrize("schema", [None, '{"type": "array"}'])
@pytest.mark.parametrize("target", [None, "[1]"])
def test_a_task_that_can_be_met_is_taken(schema, target):
    assert check_task(schema, target) is None
