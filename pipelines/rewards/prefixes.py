"""How far a JSON text may still become a value that is wanted.

Reads a text's outline and the wanted value. Returns where the text stops being the beginning of any spelling of it, by
the equality of `equality`: spacing, escapes and the order of keys are free. A key is taken to be written once: that a
wrong member could be overwritten by a later one of its name is no way out. Numbers may be spelled as the wanted one is,
or in full with trailing zeros; a number in another spelling counts once it is complete, its own beginning may not.
Never recurses.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from pipelines.rewards.equality import item_schema, property_schema, same_value
from pipelines.rewards.json_parser import MAX_DIGITS, decode
from pipelines.rewards.outline import Node

Misfit = tuple[int, Node]
"""The offset of the first character that a wanted value cannot have there, and the node at fault."""


class _Number(str):
    """A wanted number as it is written."""

    __slots__ = ()


_AS_WRITTEN = json.JSONDecoder(parse_float=_Number, parse_int=_Number)
_CHARACTERS = re.compile(r"[^\\]++|\\u[dD][89abAB]..\\u[dD][c-fC-F]..|\\u[0-9a-fA-F]{4}|\\[^u]")


def wanted_value(document: str) -> Any:
    """The value of a JSON document as `first_misfit` wants it."""
    return decode(_AS_WRITTEN, document)


def first_misfit(text: str, node: Node, wanted: Any, schema: Any = None) -> Misfit | None:
    """Where a node of the text stops being the wanted value or the beginning of it; None where it does not.

    Args:
        text: the text of the outline.
        node: a node of it.
        wanted: from `wanted_value`.
        schema: the parsed schema of that place, None where there is none; it says which integers may be decimals.

    Returns:
        The first misfit. Raises nothing.
    """
    first: Misfit | None = None
    pending = [(node, wanted, schema)]
    while pending:
        node, wanted, schema = pending.pop()
        if not node.kind or (first and node.start >= first[0]):
            continue
        if isinstance(wanted, dict) and node.kind == "{":
            misfit = _misfit_of_keys(text, node, wanted)
            members = (child for child in node.children if child.key in wanted)
            pending.extend((each, wanted[each.key], property_schema(schema, str(each.key))) for each in members)
        elif isinstance(wanted, list) and node.kind == "[":
            misfit = _misfit_of_length(node, len(wanted))
            items = zip(node.children, wanted, strict=False)
            pending.extend((child, item, item_schema(schema, at)) for at, (child, item) in enumerate(items))
        else:
            at = _misfit_of_scalar(text, node, wanted, schema)
            misfit = None if at is None else (at, node)
        if misfit and (first is None or misfit[0] < first[0]):
            first = misfit
    return first


def misfit_of_key(text: str, node: Node, wanted: set[str]) -> Misfit | None:
    """Where a member's key stops being the beginning of one of those wanted."""
    if not wanted:
        return node.begin, node
    if node.key_start is None:
        return None
    ends = [_misfit_of_string(text, (node.key_start, node.key_end), node.key is not None, key) for key in wanted]
    known = [end for end in ends if end is not None]
    return None if len(known) < len(ends) else (max(known), node)


def offset_of_character(text: str, start: int, index: int) -> int:
    """Offset of a string's character of that index; `start` is the offset of its opening quote."""
    at = start + 1
    while characters := _CHARACTERS.match(text, at):
        plain = text[at] != "\\"
        length = len(characters[0]) if plain else 1
        if index < length:
            return at + (index if plain else 0)
        at, index = characters.end(), index - length
    return at


def _misfit_of_keys(text: str, node: Node, wanted: dict[str, Any]) -> Misfit | None:
    missing = set(wanted)
    for child in node.children:
        if child.key not in missing:  # unknown, repeated, or not finished
            return misfit_of_key(text, child, missing)
        missing.remove(str(child.key))
    return (node.end - 1, node) if node.closed and missing else None


def _misfit_of_length(node: Node, wanted: int) -> Misfit | None:
    if len(node.children) > wanted:
        surplus = node.children[wanted]
        return surplus.begin, surplus
    return (node.end - 1, node) if node.closed and len(node.children) < wanted else None


def _misfit_of_scalar(text: str, node: Node, wanted: Any, schema: Any) -> int | None:
    if isinstance(wanted, _Number):
        return _misfit_of_number(text, node, wanted, schema)
    if isinstance(wanted, str) and node.kind == '"':
        return _misfit_of_string(text, (node.start, node.end), node.closed, wanted)
    literal = {None: "n", True: "t", False: "f"}.get(wanted) if not isinstance(wanted, dict | list) else None
    return None if node.kind == literal else node.start


def _misfit_of_number(text: str, node: Node, wanted: str, schema: Any) -> int | None:
    number = text[node.start : node.end]
    if node.kind not in "-0123456789":
        return node.start
    if number[-1].isdigit() and same_value(number, wanted, schema):
        return None
    common = max(_common(number, each) for each in _spellings(wanted, len(number), schema))
    if common < len(number):
        return node.start + common
    return node.end if node.closed else None


def _spellings(wanted: str, length: int, schema: Any) -> Iterator[str]:
    """The wanted number as it is written and, if that is the same value there, in full and at least that long."""
    yield wanted
    if len(wanted.lower().partition("e")[2]) <= len("-999"):
        whole, _, fraction = f"{Decimal(wanted):f}".partition(".")
        spelled = f"{whole}.{fraction or '0'}".ljust(length, "0")
        if len(spelled) <= MAX_DIGITS and same_value(spelled, wanted, schema):
            yield spelled


def _misfit_of_string(text: str, span: tuple[int, int], closed: bool, wanted: str) -> int | None:
    """Never inside an escape; two that make up one character count as one."""
    at, end = span[0] + 1, span[1] - closed
    matched = 0
    while at < end:
        characters = _CHARACTERS.match(text, at, end)
        if characters and text[at] != "\\":
            if not wanted.startswith(characters[0], matched):
                return at + _common(characters[0], wanted[matched:])
            matched += len(characters[0])
        elif characters and json.loads(f'"{characters[0]}"') == wanted[matched : matched + 1]:
            matched += 1
        else:
            unfinished = not closed and _escaped(wanted[matched : matched + 1]).startswith(text[at:end].lower())
            return None if unfinished else at
        at = characters.end()
    return end if closed and matched < len(wanted) else None


def _escaped(character: str) -> str:
    """The character, or none, as escapes of four digits."""
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def _common(left: str, right: str) -> int:
    """How many characters two texts begin with alike."""
    pairs = enumerate(zip(left, right, strict=False))
    return next((at for at, (one, other) in pairs if one != other), min(len(left), len(right)))
