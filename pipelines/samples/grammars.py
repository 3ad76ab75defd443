"""From a task's JSON Schema to the grammar its answer is drawn under, and the schemas for which there is none.

Reads JSON Schema as text; returns llguidance's Lark form. The grammar is made of the task's `schema` alone, never of
its accepted answers. It allows one spacing, that of `json.dumps`, and the keys in the schema's order: fewer texts than
the verifier accepts, never more where llguidance knows every keyword, and whatever is drawn is verified like any other
completion. `format` is enforced only where the verifier asserts it. What llguidance does not know is refused, not
approximated.
"""

from __future__ import annotations

import functools
import json
import re
from typing import Any, Final

from llguidance import LLMatcher

_ONE_SPACING: Final = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
_ANY_SPACING: Final = {"whitespace_flexible": True, "whitespace_pattern": r"[ \t\n\r]{0,12}"}
_OF_SCHEMAS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
"""Keywords whose value maps names to schemas."""
_NO_SCHEMA = ("const", "enum", "default", "examples")
"""Keywords whose value is data, whatever it looks like."""


@functools.lru_cache(maxsize=4096)
def schema_grammar(schema: str, *, any_spacing: bool = False, assert_formats: bool = False) -> str:
    """The Lark grammar of the JSON texts that are valid under a schema.

    Args:
        schema: JSON Schema as JSON text, one that `rewards.compile_schema` takes.
        any_spacing: whether white space is free, as where a text that is there already is gone on with.
        assert_formats: whether `format` is enforced.

    Returns:
        Lark text for `engine.grammar.Vocabulary.compile`, in one line but for its options.
    """
    document = _plain(json.loads(schema), assert_formats)
    spacing = _ANY_SPACING if any_spacing else _ONE_SPACING
    document = {"not": {}} if document is False else {} if document is True else document
    return f'%llguidance {{"no_forcing": true}}\nstart: %json {json.dumps({**document, "x-guidance": spacing})}'


@functools.lru_cache(maxsize=4096)
def refused_keyword(schema: str, *, assert_formats: bool = False) -> str | None:
    """What llguidance does not know in a schema: the keyword, or its own words for what it is; None when it knows all.

    A few milliseconds; the same text is asked about once.
    """
    refused, messages = LLMatcher.validate_grammar_with_warnings(schema_grammar(schema, assert_formats=assert_formats))
    if not refused:
        return None
    said = str(messages[0]).partition("failed to compile JSON schema: ")[2] or str(messages[0])
    named = re.match(r'Unimplemented keys: \["([^"]+)"', said) or re.match(r"(oneOf) constraints", said)
    return named[1] if named else said.splitlines()[0]


def _plain(schema: Any, assert_formats: bool) -> Any:
    """The schema without the settings of llguidance that it might bring, and without `format` unless it is asserted."""
    if isinstance(schema, list):
        return [_plain(one, assert_formats) for one in schema]
    if not isinstance(schema, dict):
        return schema
    dropped = ("x-guidance",) if assert_formats else ("x-guidance", "format")
    kept: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _NO_SCHEMA:
            kept[key] = value
        elif key in _OF_SCHEMAS and isinstance(value, dict):
            kept[key] = {name: _plain(one, assert_formats) for name, one in value.items()}
        elif key not in dropped:
            kept[key] = _plain(value, assert_formats)
    return kept
