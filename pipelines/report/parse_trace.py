"""A sample as the parser reads it, token by token: what is open, what may come next, and where it stops.

Reads a text; returns its steps. The parser itself is the oracle: after each token it is asked which characters some
continuation would still accept (`pipelines.rewards.parse_json` and its `.offset`), so the steps cannot disagree with
the verdict. Of a long text only the beginning and the steps before the stop are kept.
"""

from __future__ import annotations

import dataclasses
import re

from pipelines.rewards import JSONRejected, parse_json
from pipelines.text import clip

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"?|-?[0-9][0-9.eE+-]*|[A-Za-z]+|[ \t\n\r]+|.', re.DOTALL)
_PROBES = {
    "a string": '"',
    "a number": "1",
    "[": "[",
    "{": "{",
    "true, false or null": "t",
    ",": ",",
    ":": ":",
    "]": "]",
    "}": "}",
    "more of the number": ".",
}
"""What may come next → a character it begins with."""
_VALUE = frozenset({"a string", "a number", "[", "{", "true, false or null"})
_KEPT_AT_START, _KEPT_AT_END = 4, 16
_TOKEN_CHARACTERS = 24


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One token that was read."""

    text: str
    """The token, fit to show."""
    position: int
    """Where it starts, in characters from 0."""
    open: tuple[str, ...]
    """The brackets that are open after it, outermost first."""
    expected: tuple[str, ...]
    """What may come next."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ParseTrace:
    """A text up to where the parser stops, or all of it."""

    first: tuple[Step, ...]
    left_out: int
    """Steps between `first` and `last`."""
    last: tuple[Step, ...]
    stop: int | None
    """Offset of the first character that no continuation could fix, in characters; None for a text that parses."""
    rest: str
    """What stands there; empty at the text's end."""

    @property
    def final(self) -> Step | None:
        """The last step before the stop."""
        return (self.last or self.first or (None,))[-1]


def trace_parse(text: str) -> ParseTrace:
    """The parser's way through a text."""
    stop = _stop(text)
    sound = text if stop is None else text[:stop]
    tokens = [(match.start(), match[0]) for match in _TOKEN.finditer(sound) if match[0].strip(" \t\n\r")]
    kept = len(tokens) if len(tokens) <= _KEPT_AT_START + _KEPT_AT_END else _KEPT_AT_START
    opened = _open_after([token for _, token in tokens])

    def step(index: int) -> Step:
        position, token = tokens[index]
        shown = clip(token, _TOKEN_CHARACTERS).text
        expected = _expected(text[: position + len(token)])
        return Step(text=shown, position=position, open=opened[index], expected=expected)

    last = range(max(kept, len(tokens) - _KEPT_AT_END), len(tokens))
    return ParseTrace(
        first=tuple(step(index) for index in range(kept)),
        left_out=len(tokens) - kept - len(last),
        last=tuple(step(index) for index in last),
        stop=stop,
        rest="" if stop is None else clip(text[stop:], _TOKEN_CHARACTERS).text,
    )


def _stop(text: str) -> int | None:
    try:
        parse_json(text)
    except JSONRejected as rejected:
        return rejected.offset
    return None


def _open_after(tokens: list[str]) -> list[tuple[str, ...]]:
    """For each token, the brackets that are open once it is read."""
    stack: list[str] = []
    found = []
    for token in tokens:
        if token in ("[", "{"):
            stack.append(token)
        elif token in ("]", "}") and stack:
            stack.pop()
        found.append(tuple(stack[-_KEPT_AT_END:]))
    return found


def _expected(prefix: str) -> tuple[str, ...]:
    possible = {name for name, character in _PROBES.items() if _stop(prefix + character) not in range(len(prefix) + 1)}
    if len(possible) == len(_PROBES):  # nothing but the inside of a string takes them all
        return ("more of the string",)
    if prefix[-1:].isdigit() and "a number" in possible:  # a digit goes on with this number
        possible = possible - {"a number"} | {"more of the number"}
    names = ["a value", *(name for name in _PROBES if name not in _VALUE)] if possible >= _VALUE else list(_PROBES)
    ends = ["the end"] if _stop(prefix) is None else []
    return tuple(name for name in names if name in possible or name == "a value") + tuple(ends)
