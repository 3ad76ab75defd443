"""JSON Schema, drafts 4 to 2020-12, by `jsonschema-rs`.

Reads a schema as JSON text. Returns a compiled one that says whether a value fits. Raises `DataError` for a schema that
does not compile. `$schema` picks the draft, 2020-12 where there is none. `format` is asserted only on request. No
`$ref` reaches the network or a file. Does not parse completions and does not explain a misfit.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from typing import Any, NoReturn

import jsonschema_rs

from pipelines.errors import DataError
from pipelines.rewards.json_parser import JSONRejected, parse_json

_SORTED = json.JSONEncoder(sort_keys=True)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class CompiledSchema:
    """A schema ready to verify values; safe to share between threads."""

    document: Any
    """The schema's own JSON value."""
    validator: Any
    """From `jsonschema_rs`."""

    @property
    def root_type(self) -> str | None:
        """The one type that the schema demands of the whole value; None when it names none or several."""
        declared = self.document.get("type") if isinstance(self.document, dict) else None
        return declared if isinstance(declared, str) else None

    def accepts(self, value: Any) -> bool:
        """Whether a parsed value fits. A value that the verifier cannot take in does not."""
        try:
            return bool(self.validator.is_valid(value))
        except (ValueError, OverflowError, RecursionError):
            return False


@functools.lru_cache(maxsize=1024)
def compile_schema(schema: str, assert_formats: bool = False) -> CompiledSchema:
    """The compiled form of a JSON Schema; the same text is compiled once.

    Args:
        schema: JSON text of an object or a bool.
        assert_formats: whether `format` is asserted rather than an annotation.

    Returns:
        A schema whose `accepts(value)` judges parsed values.

    Raises:
        DataError: in one line, when the text is no JSON, no JSON Schema, or refers outside itself.

    Example:
        >>> compile_schema('{"type": "array"}').accepts([1, 2, 3])
        True
    """
    try:
        document = parse_json(schema)
    except JSONRejected as rejected:
        raise DataError(f"schema must be JSON, got {rejected.reason} at character {rejected.offset}; fix it") from None
    try:
        validator = jsonschema_rs.validator_for(
            document,
            validate_formats=assert_formats,
            retriever=_refuse_retrieval,
            keywords={"uniqueItems": _UniqueItems},
        )
    except (ValueError, jsonschema_rs.ReferencingError, RecursionError) as error:
        cause = str(error).partition("\n")[0]
        raise DataError(
            f"schema must be a valid JSON Schema, got one that does not compile ({cause}); fix it"
        ) from None
    return CompiledSchema(document=document, validator=validator)


def pins_answer(schema: str) -> bool:
    """Whether a schema leaves nothing open but a choice among values it spells out: under its grammar all is right.

    Every leaf is a `const` or an `enum`; objects and lists without such leaves are open, references are not followed.

    Example:
        >>> pins_answer('{"type": "object", "properties": {"city": {"const": "Rome"}}, "required": ["city"]}')
        True
    """
    pending, leaves = [json.loads(schema)], 0
    while pending:
        place = pending.pop()
        if not isinstance(place, dict):
            return False
        if "const" in place or "enum" in place:
            leaves += 1
            continue
        inner = [*place.get("properties", {}).values(), *place.get("prefixItems", [])]
        inner += [one for name in ("anyOf", "oneOf", "allOf") for one in place.get(name, [])]
        if not inner:
            return False
        pending += inner
    return leaves > 0


def _refuse_retrieval(uri: str) -> NoReturn:
    raise ValueError(f"references outside the schema are refused, {uri} is one")


class _UniqueItems:
    """The keyword `uniqueItems`, exact and in linear time.

    jsonschema-rs 0.60 hashes integers by their nearest float, so that 64 KiB of neighbouring large ones take it 8
    seconds, and takes 2**63 and 9223372036854775808.0 for different.
    """

    def __init__(self, parent_schema: Any, value: Any, schema_path: Any) -> None:
        self._demanded = value is True

    def validate(self, instance: Any) -> None:
        """Raises ValueError when two items are equal."""
        if self._demanded and isinstance(instance, list) and first_repeat(instance) is not None:
            raise ValueError("items are not unique")


def first_repeat(items: list[Any]) -> int | None:
    """Index of the first item that equals an earlier one: 1.0 is 1, true is not, and the order of keys is free."""
    seen: set[str] = set()
    for index, item in enumerate(json.loads(json.dumps(items), parse_float=_integer_if_whole)):
        seen.add(_SORTED.encode(item))
        if len(seen) == index:
            return index
    return None


def _integer_if_whole(number: str) -> int | float:
    value = float(number)
    return int(value) if value.is_integer() else value
