"""Finds where a rejected document first goes wrong, token by token, by the grammar of RFC 8259 and our limits.

Takes a text and a state to start in; raises the `JSONRejected` of the first fault, or returns when there is none. Never
recurses. Reads one token per step, which is too slow for a megabyte of brackets: `parsing` has a C parser read what is
sound, and starts this one just before the place where that parser stopped. Builds no values.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from typing import Final, Literal, NoReturn

from pipelines.rewards.rejection import MAX_DEPTH, MAX_DIGITS, JSONRejected, Reason

State = Literal["value", "first_item", "next_item", "first_key", "next_key", "colon", "after", "done"]

CLOSER_OF: Final = {"[": "]", "{": "}"}
_LITERALS: Final = {"t": "true", "f": "false", "n": "null"}
_DIGITS: Final = frozenset("0123456789")

_SPACES: Final = frozenset(" \t\n\r")
_SPACE = re.compile(r"[ \t\n\r]*+")
_SHORT_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,15}+)(?![0-9.eE])")
_PLAIN = r'[^"\\\x00-\x1f\ud800-\udfff]*+'
_STRING = re.compile(rf'"{_PLAIN}(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{{4}}){_PLAIN})*+("?)')
_PLAIN_KEY = re.compile(rf'"{_PLAIN}"[ \t\n\r]*+:')
# What most documents are made of, many tokens to a step. Whatever is not plain is left to the steps one by one.
_PLAIN_ITEM = rf'[ \t\n\r]*+(?:"{_PLAIN}"|-?(?:0|[1-9][0-9]{{0,15}}+)|true|false|null)[ \t\n\r]*+(?=[,\]}}])'
_PLAIN_ITEMS = re.compile(rf"(?:,{_PLAIN_ITEM}){{1,64}}")
_PLAIN_MEMBERS = re.compile(rf'(?:,[ \t\n\r]*+"{_PLAIN}"[ \t\n\r]*+:{_PLAIN_ITEM}){{1,64}}')
_PARTIAL_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{0,3}+)?")
_DIGIT_RUN = re.compile(rf"[0-9]{{0,{MAX_DIGITS}}}+")
_EXPONENT = re.compile(r"[eE]([+-]?)([0-9]*)\Z")


@dataclasses.dataclass(frozen=True, slots=True)
class Start:
    """A place between two tokens up to which a text is sound."""

    position: int = 0
    """Offset in characters."""
    closers: tuple[str, ...] = ()
    """What closes each container that is open there, innermost last."""
    state: State = "value"
    """What the grammar expects next."""


def raise_first_fault(text: str, start: Start) -> None:
    """Raises JSONRejected for the first fault at or after the start; returns when the rest of the text has none."""
    _Automaton(text, start).run()


class _Automaton:
    """A cursor, the open containers, and what may come next."""

    def __init__(self, text: str, start: Start) -> None:
        self.text = text
        self.position = start.position
        self.closers = list(start.closers)
        self.state: State = start.state

    def run(self) -> None:
        while self.state != "done":
            _STEPS[self.state](self)

    def _peek(self) -> str:
        """The character under the cursor, or nothing at the end."""
        return self.text[self.position : self.position + 1]

    def _next(self) -> str:
        """The first character that is not white space, or nothing at the end."""
        character = self.text[self.position : self.position + 1]
        if character not in _SPACES:
            return character
        space = _SPACE.match(self.text, self.position)
        self.position = space.end() if space else self.position
        return self.text[self.position : self.position + 1]

    def _refuse(self, reason: Reason) -> NoReturn:
        """The character under the cursor cannot stand there; where there is none, the text is just unfinished."""
        at_end = self.position >= len(self.text)
        raise JSONRejected("unexpected_end" if at_end else reason, self.position)

    def _first_item(self) -> None:
        if self._next() == "]":
            self._close()
        else:
            self._value()

    def _next_item(self) -> None:
        if self._next() == "]":
            self._refuse("trailing_comma")
        self._value()

    def _key(self) -> None:
        character = self._next()
        plain = _PLAIN_KEY.match(self.text, self.position)
        if plain:
            self.position = plain.end()
            self.state = "value"
        elif character == "}" and self.state == "first_key":
            self._close()
        elif character == '"':
            self._string()
            self.state = "colon"
        else:
            self._refuse("trailing_comma" if character == "}" else "unexpected_character")

    def _colon(self) -> None:
        if self._next() != ":":
            self._refuse("unexpected_character")
        self.position += 1
        self.state = "value"

    def _after(self) -> None:
        character = self._next()
        if not self.closers:
            if character:
                self._refuse("trailing_text")
            self.state = "done"
        elif character == self.closers[-1]:
            self._close()
        elif character == ",":
            in_array = self.closers[-1] == "]"
            run = (_PLAIN_ITEMS if in_array else _PLAIN_MEMBERS).match(self.text, self.position)
            if run:
                self.position = run.end()
                return
            self.position += 1
            self.state = "next_item" if in_array else "next_key"
        else:
            self._refuse("unexpected_character")

    def _value(self) -> None:
        character = self._next()
        if character in CLOSER_OF:
            self._open(character)
            return
        if character == '"':
            self._string()
        elif character == "-" or character in _DIGITS:
            self._number()
        elif character in _LITERALS:
            self._literal(_LITERALS[character])
        else:
            starts_with_mark = character == "\ufeff" and self.position == 0
            self._refuse("byte_order_mark" if starts_with_mark else "unexpected_character")
        self.state = "after"

    def _open(self, opener: str) -> None:
        if len(self.closers) >= MAX_DEPTH:
            self._refuse("too_deep")
        self.closers.append(CLOSER_OF[opener])
        self.position += 1
        self.state = "first_item" if opener == "[" else "first_key"

    def _close(self) -> None:
        self.closers.pop()
        self.position += 1
        self.state = "after"

    def _literal(self, literal: str) -> None:
        for expected in literal:
            if self._peek() != expected:
                self._refuse("invalid_literal")
            self.position += 1

    def _string(self) -> None:
        string = _STRING.match(self.text, self.position)
        if string is None:  # the caller has seen the quote
            self._refuse("unexpected_character")
        self.position = string.end()
        if string[1]:
            return
        stopper = self._peek()
        if stopper == "\\":
            escape = _PARTIAL_ESCAPE.match(self.text, self.position)
            self.position = escape.end() if escape else self.position
            self._refuse("invalid_escape")
        self._refuse("control_character" if stopper < " " else "invalid_unicode")

    def _number(self) -> None:
        begin = self.position
        integer = _SHORT_INTEGER.match(self.text, begin)
        if integer:
            self.position = integer.end()
            return
        if self._peek() == "-":
            self.position += 1
        if self._peek() == "0":
            self.position += 1
            if self._peek() in _DIGITS:
                self._refuse("invalid_number")
        else:
            self._digits()
        whole = self.position
        if self._peek() == ".":
            self.position += 1
            self._digits()
        if self._peek() in ("e", "E"):
            self.position += 1
            if self._peek() in ("+", "-"):
                self.position += 1
            self._digits()
        if self.position > whole:
            self._refuse_overflow(begin)

    def _digits(self) -> None:
        """At least one digit and at most as many as the limit says."""
        begin = self.position
        run = _DIGIT_RUN.match(self.text, begin)
        self.position = run.end() if run else begin
        if self.position == begin:
            self._refuse("invalid_number")
        if self._peek() in _DIGITS:
            self._refuse("too_many_digits")

    def _refuse_overflow(self, begin: int) -> None:
        """A float that is not finite is refused where no further digit or exponent can make it finite again."""
        if math.isfinite(float(self.text[begin : self.position])):
            return
        while not math.isfinite(float(_smallest_number(self.text[begin : self.position]))):
            self.position -= 1
        raise JSONRejected("number_out_of_range", self.position)


_STEPS: Final[dict[State, Callable[[_Automaton], None]]] = {
    "value": _Automaton._value,
    "first_item": _Automaton._first_item,
    "next_item": _Automaton._next_item,
    "first_key": _Automaton._key,
    "next_key": _Automaton._key,
    "colon": _Automaton._colon,
    "after": _Automaton._after,
}


def _smallest_number(prefix: str) -> str:
    """The number of least magnitude that starts with the prefix and keeps to the limit on digits."""
    exponent = _EXPONENT.search(prefix)
    if exponent is None:
        return f"{prefix}{'0' if prefix.endswith('.') else ''}e-{'9' * MAX_DIGITS}"
    sign, digits = exponent.groups()
    if sign == "-" or not sign + digits:
        return f"{prefix}{'' if sign else '-'}{'9' * (MAX_DIGITS - len(digits))}"
    return prefix if digits else f"{prefix}0"
