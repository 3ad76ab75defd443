"""The grammar of a schema: what it allows, checked by the verifier; and the schemas there is none for."""

from __future__ import annotations

import json

import pytest

from pipelines.config import SamplingConfig
from pipelines.records import Task
from pipelines.rewards import verify
from pipelines.samples.grammars import refused_keyword, schema_grammar
from pipelines.samples.policies import Conversation, LocalPolicy

OBJECT = {
    "type": "object",
    "properties": {
        "n": {"type": "integer", "minimum": -5, "maximum": 900},
        "u": {"enum": ["C", "F"]},
        "s": {"type": "boolean"},
    },
    "required": ["n", "u"],
    "additionalProperties": False,
}
SCHEMAS = [
    OBJECT,
    {**OBJECT, "properties": {**OBJECT["properties"], "s": {"type": "string", "maxLength": 4}}},
    {"type": "array", "items": {"type": ["boolean", "null"]}, "minItems": 1, "maxItems": 5},
    {"type": "array", "prefixItems": [{"const": {"a": [1]}}, {"type": "number"}], "items": False},
    {"$ref": "#/$defs/leaf", "$defs": {"leaf": {"anyOf": [{"type": "null"}, {"pattern": "^a+b$", "type": "string"}]}}},
    {"type": "object", "properties": {"format": {"const": "x"}}, "required": ["format"], "additionalProperties": False},
]  # fmt: skip
ASKED = ({"role": "user", "content": "JSON, please"},)
SETTINGS = SamplingConfig(max_new_tokens=48)


def ask(policy: LocalPolicy, schema: object, **more) -> list:
    conversation = Conversation(messages=ASKED, seeds=tuple(range(40)), schema=json.dumps(schema), **more)
    ((_, made),) = policy.complete([conversation], SETTINGS)
    return made


@pytest.mark.parametrize("schema", SCHEMAS)
def test_whatever_ends_under_the_grammar_passes_the_verifier(tiny, schema: object):
    task = Task(id="a", family="a", key="a", split="train", prompt="a", schema=json.dumps(schema))
    ended = [one for one in ask(LocalPolicy(*tiny), schema) if one.finish_reason == "stop"]
    assert ended
    assert [verify(one.text, task).reason for one in ended] == [None] * len(ended)
    assert all(one.allowed_nats < 0 for one in ended)


@pytest.mark.parametrize(
    ("schema", "keyword"),
    [
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"properties": {"a": {"not": {"type": "string"}}}}, "not"),
        ({"not": {}, "x-guidance": {"lenient": True}}, "not"),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "oneOf"),
        ({"type": "string", "format": "unheard-of"}, None),
        (True, None),
        (False, "not"),
        *((schema, None) for schema in SCHEMAS),
    ],
)
def test_what_llguidance_does_not_know_is_named_not_approximated(schema: object, keyword: str | None):
    assert refused_keyword(json.dumps(schema)) == keyword


def test_formats_are_enforced_where_the_verifier_asserts_them():
    schema = json.dumps({"properties": {"format": {"type": "string", "format": "unheard-of"}}, "const": {"format": 1}})
    assert "unheard-of" not in schema_grammar(schema)
    assert schema_grammar(schema).count('"format"') == 2  # a name, and data
    assert "unheard-of" in (refused_keyword(schema, assert_formats=True) or "")


@pytest.mark.parametrize(
    ("prefix", "is_under_grammar"), [('{"n": 1', True), ('{\n"n" :1,', True), ("Here is", False), ('{"u": "C"', False)]
)
def test_a_text_that_is_there_is_gone_on_with_in_its_own_spacing(tiny, prefix: str, is_under_grammar: bool):
    """One that no text of the grammar begins with is gone on with freely, and says so."""
    _, tokenizer = tiny
    made = ask(LocalPolicy(*tiny), OBJECT, prefix=tuple(tokenizer.encode(prefix)))
    assert all(one.text.startswith(prefix) for one in made)
    assert {one.allowed_nats is not None for one in made} == {is_under_grammar}
    assert max(one.completion_tokens for one in made) <= SETTINGS.max_new_tokens
