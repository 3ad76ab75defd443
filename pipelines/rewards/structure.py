"""Brackets and strings of a long document, all at once: how deep it gets, and where the automaton may start.

Takes a text; works on arrays of one element per character, so that it costs the same for hostile documents as for
kind ones. Says the truth only about the part of a text before its first fault, which is all that is asked of it.
Checks no grammar, and finds no fault but nesting and numbers beyond the limits.
"""

from __future__ import annotations

import re
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipelines.rewards.automaton import CLOSER_OF, Start, State
from pipelines.rewards.rejection import MAX_DEPTH, MAX_DIGITS

_QUOTE, _BACKSLASH = ord('"'), ord("\\")
_STATE_AFTER: Final[dict[str, State]] = {
    "[": "first_item",
    "{": "first_key",
    ":": "value",
    "]": "after",
    "}": "after",
}


class Structure:
    """What is inside strings, and how many containers are open, at each character of a text."""

    def __init__(self, text: str) -> None:
        self._text = text
        # One byte per character: what lies beyond Latin-1 becomes "?", which means as little to the structure.
        characters = np.frombuffer(text.encode("latin-1", "replace"), dtype=np.uint8)
        quotes = characters == _QUOTE
        if "\\" in text:
            quotes &= ~_escaped(characters)
        outside = np.cumsum(quotes, dtype=np.uint8) & 1 == 0  # wraps around, and keeps its parity
        self._characters, self._outside = characters, outside
        self._opens: NDArray[np.bool_] = ((characters == ord("[")) | (characters == ord("{"))) & outside
        self._closes: NDArray[np.bool_] = ((characters == ord("]")) | (characters == ord("}"))) & outside
        steps = self._opens.astype(np.int8) - self._closes.astype(np.int8)
        self._depth: NDArray[np.int32] = np.cumsum(steps, dtype=np.int32)

    def first_beyond_limits(self) -> int | None:
        """Offset of the first bracket that nests too deep or number part that is too long; None without any."""
        breaks = np.flatnonzero((self._characters < ord("0")) | (self._characters > ord("9")))
        breaks = np.concatenate(([-1], breaks, [self._characters.size]))
        long_runs = breaks[:-1][np.diff(breaks) > MAX_DIGITS + 1] + 1
        too_long = long_runs[self._outside[long_runs]]
        too_deep = np.flatnonzero(self._depth > MAX_DEPTH)
        return min((int(offsets[0]) for offsets in (too_long, too_deep) if offsets.size), default=None)

    def first_constant(self) -> int:
        """Offset of the first NaN or Infinity outside strings, taken for granted to be there."""
        capitals = (self._characters == ord("N")) | (self._characters == ord("I"))
        return int((capitals & self._outside).argmax())

    def first_number(self, number: str) -> int:
        """Offset of a number outside strings that is spelt like this, taken for granted to be there."""
        spelling = re.compile(rf"(?<![0-9.eE+-]){re.escape(number)}(?![0-9.eE+-])")
        return next((match.start() for match in spelling.finditer(self._text) if self._outside[match.start()]), 0)

    def start_before(self, position: int) -> Start:
        """The state of the automaton after the last bracket, comma or colon before a position."""
        characters = self._characters[:position]
        separates = ((characters == ord(",")) | (characters == ord(":"))) & self._outside[:position]
        tokens = np.flatnonzero(self._opens[:position] | self._closes[:position] | separates)
        if not tokens.size:
            return Start()
        last = int(tokens[-1])
        depth = int(self._depth[last])
        openers = np.flatnonzero(self._opens[: last + 1])
        openers = openers[self._depth[openers] <= depth]
        innermost = np.zeros(depth + 1, dtype=np.int64)
        innermost[self._depth[openers]] = openers  # the last opener of each depth wins: the one still open
        closers = tuple(CLOSER_OF[self._text[opener]] for opener in innermost[1:])
        token = self._text[last]
        after_comma: State = "next_item" if closers[-1:] == ("]",) else "next_key"
        return Start(last + 1, closers, _STATE_AFTER.get(token, after_comma))


def _escaped(characters: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Whether an odd number of backslashes stands right before each character."""
    indices = np.arange(characters.size, dtype=np.int32)
    last_other = np.maximum.accumulate(np.where(characters == _BACKSLASH, -1, indices))
    escaped = np.zeros(characters.size, dtype=np.bool_)
    escaped[1:] = (indices[:-1] - last_other[:-1]) % 2 == 1
    return escaped
