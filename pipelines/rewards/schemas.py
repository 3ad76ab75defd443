"""JSON Schema, drafts 4 to 2020-12, by `jsonschema-rs`.

Takes a schema as JSON text and leaves a compiled one that says whether a value fits; raises `DataError` for a schema
that does not compile. `$schema` picks the draft, 2020-12 where there is none. `format` is asserted only on request. No
`$ref` reaches the network or a file. Does not parse completions and does not explain a misfit.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from typing import Any, NoReturn

import jsonschema_rs
import orjson

from pipelines.errors import DataError
from pipelines.rewards.parsing import parse_json
from pipelines.rewards.rejection import JSONRejected

_BEYOND_FLOAT_PRECISION = re.compile(r"[0-9]{16}")
_SORTED = json.JSONEncoder(sort_keys=True)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class CompiledSchema:
    """A schema ready to verify values; safe to share between threads."""

    document: Any
    """The schema's own JSON value."""
    validator: Any
    """From `jsonschema_rs`."""
    exact_validator: Any
    """The same with a `uniqueItems` that stays linear on large integers; None where the schema cannot demand that."""

    @property
    def root_type(self) -> str | None:
        """The one type that the schema demands of the whole value; None when it names none or several."""
        declared = self.document.get("type") if isinstance(self.document, dict) else None
        return declared if isinstance(declared, str) else None

    def accepts(self, value: Any, text: str) -> bool:
        """Whether a value, read from this text, fits. A value that the verifier cannot take in does not."""
        # jsonschema-rs hashes integers by their nearest float: 50,000 neighbours take its uniqueItems many minutes.
        large_integers = self.exact_validator is not None and _BEYOND_FLOAT_PRECISION.search(text) is not None
        try:
            return bool((self.exact_validator if large_integers else self.validator).is_valid(value))
        except (ValueError, OverflowError, RecursionError):
            return False


@functools.lru_cache(maxsize=1024)
def compile_schema(schema: str, assert_formats: bool = False) -> CompiledSchema:
    """The compiled form of a schema's JSON text; DataError, in one line, when it is none."""
    try:
        document = parse_json(schema)
    except JSONRejected as rejected:
        raise DataError(f"schema must be JSON, got {rejected.reason} at character {rejected.offset}; mend it") from None
    try:
        build = functools.partial(
            jsonschema_rs.validator_for, document, validate_formats=assert_formats, retriever=_refuse_retrieval
        )
        validator = build()
        demands_unique = any(mark in schema for mark in ("uniqueItems", "\\u", "json-schema.org"))
        exact = build(keywords={"uniqueItems": _UniqueItems}) if demands_unique else None
    except (ValueError, jsonschema_rs.ReferencingError, RecursionError) as error:
        cause = str(error).partition("\n")[0]
        raise DataError(
            f"schema must be a valid JSON Schema, got one that does not compile ({cause}); mend it"
        ) from None
    return CompiledSchema(document=document, validator=validator, exact_validator=exact)


def _refuse_retrieval(uri: str) -> NoReturn:
    raise ValueError(f"references outside the schema are refused, {uri} is one")


class _UniqueItems:
    """The keyword `uniqueItems` by the items' canonical texts."""

    def __init__(self, parent_schema: Any, value: Any, schema_path: Any) -> None:
        self._demanded = value is True

    def validate(self, instance: Any) -> None:
        """Raises ValueError when two items are equal."""
        if self._demanded and isinstance(instance, list) and len(set(map(_canonical, instance))) != len(instance):
            raise ValueError("items are not unique")


def _canonical(value: Any) -> str:
    """A text that is the same for equal values, as JSON Schema has it: 1.0 is 1, and the order of keys is free."""
    if type(value) is int:
        return str(value)
    if type(value) is float:
        return str(int(value) if value.is_integer() else value)
    text = _SORTED.encode(value)
    if "." not in text and "e" not in text:
        return text
    return _SORTED.encode(json.loads(text, parse_float=_integer_if_whole))


def _integer_if_whole(number: str) -> int | float:
    value = float(orjson.loads(number))
    return int(value) if value.is_integer() else value
