"""Procedural task families: seeded requests whose right value and schema are known by construction.

A family is a function from a random generator to a `Draft`. It knows nothing of splits, ids or files; `splits` draws
from it until it has the distinct tasks it needs.
"""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable, Mapping
from typing import Any

WORDS = (
    "apple bread chair cloud dance eagle flute grape honey island jacket kettle lemon mango night ocean "
    "paper queen river stone table uncle violin water yellow zebra bridge candle forest garden hammer ladder"
).split()
NAMES = (
    "Ada Ben Carla David Elena Felix Grace Hugo Iris Jonas Kira Leo Maria Nina Oscar Paula Quinn Rosa Samuel Tara"
).split()
SETTINGS = "alarm bluetooth camera dark_mode email gps location microphone notifications sync updates wifi".split()
MONTHS = "January February March April May June July August September October November December".split()
FIELDS = "count depth height index length level price score size speed total weight width year".split()


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """A request, its one right value, and the schema that value obeys."""

    prompt: str
    target: Any
    schema: dict[str, Any]


def range_task(rng: random.Random) -> Draft:
    """Whole numbers counting up, e.g. "a JSON list of 1 through 3"."""
    first, last = _interval(rng)
    return Draft(
        prompt=f"Write a JSON list of {first} through {last}.",
        target=list(range(first, last + 1)),
        schema=_list_of("integer"),
    )


def countdown_task(rng: random.Random) -> Draft:
    """Whole numbers counting down."""
    first, last = _interval(rng)
    return Draft(
        prompt=f"Write a JSON list counting down from {last} to {first}.",
        target=list(range(last, first - 1, -1)),
        schema=_list_of("integer"),
    )


def letters_task(rng: random.Random) -> Draft:
    """A run of the alphabet, lower case."""
    length = rng.randint(3, 6)
    start = rng.randrange(26 - length + 1)
    letters = [chr(ord("a") + start + step) for step in range(length)]
    return Draft(
        prompt=f"Write a JSON list of the letters {letters[0]} through {letters[-1]}.",
        target=letters,
        schema=_list_of("string"),
    )


def evens_task(rng: random.Random) -> Draft:
    """Even numbers counting up."""
    length = rng.randint(3, 6)
    first = 2 * rng.randint(1, 16)
    return Draft(
        prompt=f"Write a JSON list of the even numbers from {first} to {first + 2 * (length - 1)}.",
        target=[first + 2 * step for step in range(length)],
        schema=_list_of("integer"),
    )


def repeat_task(rng: random.Random) -> Draft:
    """One word several times."""
    word, count = rng.choice(WORDS), rng.randint(2, 5)
    return Draft(
        prompt=f"Write a JSON list with the word {word} {count} times.",
        target=[word] * count,
        schema=_list_of("string"),
    )


def months_task(rng: random.Random) -> Draft:
    """A run of the year's months."""
    length = rng.randint(3, 6)
    start = rng.randrange(12 - length + 1)
    months = MONTHS[start : start + length]
    return Draft(
        prompt=f"Write a JSON list of the months {months[0]} through {months[-1]}.",
        target=months,
        schema=_list_of("string"),
    )


def numbers_task(rng: random.Random) -> Draft:
    """Given whole numbers as a list, in the order given."""
    numbers = [rng.randint(1, 99) for _ in range(rng.randint(2, 5))]
    return Draft(
        prompt=f"Write a JSON list of these numbers: {', '.join(map(str, numbers))}.",
        target=numbers,
        schema=_list_of("integer"),
    )


def words_task(rng: random.Random) -> Draft:
    """Given words as a list of strings, in the order given."""
    words = rng.sample(WORDS, rng.randint(2, 5))
    return Draft(
        prompt=f"Write a JSON list of these words: {', '.join(words)}.", target=words, schema=_list_of("string")
    )


def object_task(rng: random.Random) -> Draft:
    """Given keys set to given whole numbers."""
    target = {key: rng.randint(0, 99) for key in rng.sample(FIELDS, rng.randint(2, 4))}
    settings = ", ".join(f"{key} set to {value}" for key, value in target.items())
    return Draft(
        prompt=f"Write a JSON object with {settings}.",
        target=target,
        schema=_object_of(dict.fromkeys(target, "integer")),
    )


def record_task(rng: random.Random) -> Draft:
    """A person's name and age under fixed keys."""
    target = {"name": rng.choice(NAMES), "age": rng.randint(18, 90)}
    return Draft(
        prompt=f"Write a JSON object with the name and age of {target['name']}, who is {target['age']} years old.",
        target=target,
        schema=_object_of({"name": "string", "age": "integer"}),
    )


def flags_task(rng: random.Random) -> Draft:
    """Given settings that are true, false or null."""
    target = {key: rng.choice((True, False, None)) for key in rng.sample(SETTINGS, rng.randint(2, 4))}
    settings = ", ".join(f"{key} set to {json.dumps(value)}" for key, value in target.items())
    return Draft(
        prompt=f"Write a JSON object with {settings}.",
        target=target,
        schema=_object_of({key: ["boolean", "null"] for key in target}),
    )


def nested_task(rng: random.Random) -> Draft:
    """A list inside an object: a name and given whole numbers."""
    name, numbers = rng.choice(NAMES), [rng.randint(1, 20) for _ in range(rng.randint(2, 4))]
    return Draft(
        prompt=f"Write a JSON object with the name {name} and the list of scores {', '.join(map(str, numbers))}.",
        target={"name": name, "scores": numbers},
        schema={
            **_object_of({"name": "string"}),
            "properties": {"name": {"type": "string"}, "scores": _list_of("integer")},
            "required": ["name", "scores"],
        },
    )


FAMILIES: dict[str, Callable[[random.Random], Draft]] = {
    "range": range_task,
    "countdown": countdown_task,
    "letters": letters_task,
    "evens": evens_task,
    "repeat": repeat_task,
    "months": months_task,
    "numbers": numbers_task,
    "words": words_task,
    "object": object_task,
    "record": record_task,
    "flags": flags_task,
    "nested": nested_task,
}


def _interval(rng: random.Random) -> tuple[int, int]:
    """First and last of three to seven whole numbers from 1 to 20."""
    length = rng.randint(3, 7)
    first = rng.randint(1, 21 - length)
    return first, first + length - 1


def _list_of(kind: str) -> dict[str, Any]:
    return {"type": "array", "items": {"type": kind}}


def _object_of(kinds: Mapping[str, str | list[str]]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {key: {"type": kind} for key, kind in kinds.items()},
        "required": list(kinds),
        "additionalProperties": False,
    }
