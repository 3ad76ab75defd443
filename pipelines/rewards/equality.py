"""Whether a value is exactly the one asked for.

Reads two accepted JSON texts and the task's schema. Returns a bool; raises nothing. Types count: `true` is not `1`, and
`1.0` is not `1` unless the schema says `"number"` at that very place, found by walking `properties`, `prefixItems` and
`items` (references and combinators are not followed: there, types count). Numbers are compared as the decimals that are
written, not as the floats nearest to them; minus zero is zero. The order of an object's keys is free, a list's is not.
Never recurses.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from pipelines.rewards.json_parser import decode


def same_value(answer: str, target: str, schema: Any = None) -> bool:
    """Whether the answer's value is the target's; the schema is its parsed JSON, None where there is none."""
    if answer == target:
        return True
    pending = [(decode(_AS_WRITTEN, answer), decode(_AS_WRITTEN, target), schema)]
    while pending:
        left, right, place = pending.pop()
        if type(left) is not type(right):
            if not (_declares_number(place) and _equal_numbers(left, right)):
                return False
        elif type(left) is dict:
            if left.keys() != right.keys():
                return False
            pending.extend((left[key], right[key], property_schema(place, key)) for key in right)
        elif type(left) is list:
            if len(left) != len(right):
                return False
            pending.extend((left[index], right[index], item_schema(place, index)) for index in range(len(right)))
        elif left != right:
            return False
    return True


class _Decimal(NamedTuple):
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


def _equal_numbers(left: Any, right: Any) -> bool:
    """Whether an integer and a decimal, in either order, are of the same value."""
    if {type(left), type(right)} != {int, _Decimal}:
        return False
    return bool(_as_decimal(left) == _as_decimal(right))


def _as_decimal(number: int | _Decimal) -> _Decimal:
    return _decimal(str(number)) if isinstance(number, int) else number


def _declares_number(place: Any) -> bool:
    declared = place.get("type") if isinstance(place, dict) else None
    return declared == "number" or (isinstance(declared, list) and "number" in declared)


def property_schema(place: Any, key: str) -> Any:
    """What the schema at a place says of one property, where it says so itself."""
    properties = place.get("properties") if isinstance(place, dict) else None
    return properties.get(key) if isinstance(properties, dict) else None


def item_schema(place: Any, index: int) -> Any:
    """What the schema at a place says of one item, where it says so itself."""
    if not isinstance(place, dict):
        return None
    items = place.get("items")
    # Before 2020-12, `items` as a list was what `prefixItems` is now.
    first = items if isinstance(items, list) else place.get("prefixItems")
    if isinstance(first, list) and index < len(first):
        return first[index]
    return place.get("additionalItems") if isinstance(items, list) else items
