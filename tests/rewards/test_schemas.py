"""Which values fit a schema, which schemas compile, and what the verifier underneath may not do."""

from __future__ import annotations

import time

import pytest

from pipelines.errors import DataError
from pipelines.rewards import MAX_DEPTH, check_task, compile_schema, parse_json

DEEP = "[" * MAX_DEPTH + "]" * MAX_DEPTH


def accepts(schema: str, document: str, assert_formats: bool = False) -> bool:
    return compile_schema(schema, assert_formats).accepts(parse_json(document), document)


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
    ("schema", "complaint"),
    [
        ("{", "unexpected_end at character 1"),
        ("[1]", "does not compile"),
        ('{"type": "text"}', "does not compile"),
        ('{"pattern": "("}', "does not compile"),
        ('{"$schema": "http://example.com/own"}', "Unknown meta-schema"),
        ('{"$ref": "#/$defs/missing"}', "does not exist"),
        ('{"const": "\\ud800"}', "does not compile"),
        ('{"$ref": "http://127.0.0.1:9/schema"}', "references outside the schema are refused"),
        ('{"$ref": "file:///etc/hostname"}', "references outside the schema are refused"),
        ('{"$id": "file:///etc/", "$ref": "hostname"}', "references outside the schema are refused"),
    ],
)
def test_a_schema_that_does_not_compile_is_one_clear_line(schema, complaint):
    with pytest.raises(DataError, match=complaint) as caught:
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
    ],
)
def test_items_beside_large_integers_are_unique_as_json_schema_has_it(items, unique):
    assert accepts('{"uniqueItems": true}', f"[{items}]") == unique
    assert accepts('{"uniqueItems": false}', f"[{items}]")


def test_neighbouring_large_integers_are_found_unique_in_linear_time():
    document = "[" + ",".join(str(2**63 + number) for number in range(20_000)) + "]"
    begin = time.perf_counter()
    assert accepts('{"uniqueItems": true}', document)
    assert time.perf_counter() - begin < 5  # jsonschema-rs itself: minutes


def test_a_target_that_its_schema_refuses_is_a_mistake_of_the_task():
    with pytest.raises(DataError, match="target must be valid under the schema"):
        check_task('{"type": "object"}', "[1]")
    with pytest.raises(DataError, match="target must be JSON, got trailing_comma at character 3"):
        check_task(None, "[1,]")
    check_task('{"type": "array"}', "[1]")
    check_task(None, None)
