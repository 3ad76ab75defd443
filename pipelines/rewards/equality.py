"""Whether a value is exactly the one asked for.

Takes two parsed JSON values with their texts and the task's schema; leaves a bool. Types count: `true` is not `1`, and
`1.0` is not `1` unless the schema says `"number"` at that very place, found by walking `properties`, `prefixItems` and
`items` (references and combinators are not followed: there, types count). Numbers are compared as the decimals that are
written, not as the floats nearest to them; minus zero is zero. The order of an object's keys is free, a list's is not.
Never recurses.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from typing import Any

from pipelines.rewards.parsing import decode

_LONG_OR_EXPONENT = re.compile(r"[0-9.]{17}|[0-9][eE]")


@dataclasses.dataclass(frozen=True, slots=True)
class Written:
    """A JSON value with the accepted text it was read from."""

    value: Any
    text: str


def same_value(answer: Written, target: Written, schema: Any) -> bool:
    """Whether the answer is the target; a schema that declares no numbers is better passed as None."""
    if answer.text == target.text:
        return True
    if not _equal(answer.value, target.value, schema):
        return False
    if not (_may_share_float(answer.text) or _may_share_float(target.text)):
        return True
    # Equal as floats; 3.0000000000000000001 is one of the decimals that only their text tells from 3.0.
    return _equal(decode(_AS_WRITTEN, answer.text), decode(_AS_WRITTEN, target.text), schema)


def _may_share_float(text: str) -> bool:
    """Whether a number may have other decimals' float: one of at most 15 digits without exponent has its own."""
    return ("." in text or "e" in text or "E" in text) and _LONG_OR_EXPONENT.search(text) is not None


@dataclasses.dataclass(frozen=True, slots=True)
class _Decimal:
    """A number as written, in lowest terms: significant digits times a power of ten. (`decimal` caps exponents.)"""

    digits: str
    exponent: int


def _decimal(number: str) -> _Decimal:
    mantissa, _, exponent = number.lower().partition("e")
    whole, _, fraction = mantissa.removeprefix("-").partition(".")
    digits = (whole + fraction).lstrip("0")
    significant = digits.rstrip("0")
    if not significant:
        return _Decimal("", 0)
    sign = "-" if mantissa.startswith("-") else ""
    return _Decimal(sign + significant, int(exponent or 0) - len(fraction) + len(digits) - len(significant))


_AS_WRITTEN = json.JSONDecoder(parse_float=_decimal)


def _equal(answer: Any, target: Any, schema: Any) -> bool:
    pending = [(answer, target, schema)]
    while pending:
        left, right, place = pending.pop()
        if type(left) is not type(right):
            if not (_declares_number(place) and _equal_numbers(left, right)):
                return False
        elif type(left) is dict:
            if left.keys() != right.keys():
                return False
            places = None if place is None else [_property(place, key) for key in right]
            if not _compare_children([left[key] for key in right], list(right.values()), places, pending):
                return False
        elif type(left) is list:
            if len(left) != len(right):
                return False
            places = None if place is None else [_item(place, index) for index in range(len(right))]
            if not _compare_children(left, right, places, pending):
                return False
        elif left != right:
            return False
    return True


def _compare_children(
    lefts: list[Any], rights: list[Any], places: list[Any] | None, pending: list[tuple[Any, Any, Any]]
) -> bool:
    """Whether as many children may be equal; those that take a closer look are left pending."""
    if places is not None:
        pending.extend(zip(lefts, rights, places, strict=True))
        return True
    kinds = list(map(type, lefts))
    if kinds != list(map(type, rights)):
        return False
    if list in kinds or dict in kinds:
        pending.extend(zip(lefts, rights, itertools.repeat(None)))
        return True
    return lefts == rights  # scalars alone: Python compares them many times faster


def _equal_numbers(left: Any, right: Any) -> bool:
    """An int and a float, or an int and a decimal, of the same value."""
    kinds = {type(left), type(right)}
    if kinds == {int, _Decimal}:
        return bool(_as_decimal(left) == _as_decimal(right))
    return kinds == {int, float} and bool(left == right)


def _as_decimal(number: int | _Decimal) -> _Decimal:
    return _decimal(str(number)) if isinstance(number, int) else number


def _declares_number(place: Any) -> bool:
    declared = place.get("type") if isinstance(place, dict) else None
    return declared == "number" or (isinstance(declared, list) and "number" in declared)


def _property(place: Any, key: str) -> Any:
    properties = place.get("properties") if isinstance(place, dict) else None
    return properties.get(key) if isinstance(properties, dict) else None


def _item(place: Any, index: int) -> Any:
    if not isinstance(place, dict):
        return None
    items = place.get("items")
    # Before 2020-12, `items` as a list was what `prefixItems` is now.
    first = items if isinstance(items, list) else place.get("prefixItems", [])
    if index < len(first):
        return first[index]
    return place.get("additionalItems") if isinstance(items, list) else items
