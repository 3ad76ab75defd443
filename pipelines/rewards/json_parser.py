"""Strict JSON: RFC 8259, all of it and nothing else, within limits of our own.

Reads a str, or bytes of UTF-8 without a byte order mark. Returns the value. Raises `JSONRejected`, with the reason and
the offset of the first fault, and nothing else. The limits are below those of any interpreter underneath, so that a
document's verdict depends on the document alone.

The standard library's C scanner builds the value; what it takes and we do not (NaN, floats that overflow, raw
surrogates, too deep, too many digits) is refused here. Why and where a document fails is found by `_Automaton`, which
reads it token by token from its start, by the grammar and the limits.

Integers are exact at any accepted size. A number with a fraction or an exponent is a 64-bit float: one that would
overflow is refused, one that underflows is zero. Of duplicate keys the last wins, and an escaped lone surrogate
("\\ud800") stays one: the grammar permits both, `notes_on` reports them. Repairs nothing.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Literal, NoReturn, get_args

MAX_BYTES: Final = 65_536
"""Largest document, in bytes of UTF-8 (of a str: of its encoding). A larger one is refused unread, at offset 0."""
MAX_DEPTH: Final = 200
"""Deepest nesting of arrays and objects; `[]` is 1 deep. The schema validator takes in no more than 253."""
MAX_DIGITS: Final = 640
"""Longest run of digits in a number: its integer part, its fraction and its exponent each. Python's limit on int <->
str can be set no lower (`sys.int_info.str_digits_check_threshold`), so no setting of the process changes a verdict."""

Reason = Literal[
    "unexpected_end",  # nothing wrong so far, but the text is over
    "unexpected_character",
    "trailing_text",  # anything but white space after a whole document
    "trailing_comma",
    "invalid_literal",  # `nul]`, `falze`
    "invalid_number",  # `01`, `1.]`, `-x`
    "invalid_escape",
    "control_character",  # a raw one inside a string
    "invalid_unicode",  # bytes that are not UTF-8, or a raw surrogate, inside a string
    "byte_order_mark",
    "number_out_of_range",  # has a fraction or an exponent and would overflow a 64-bit float
    "too_many_digits",
    "too_deep",
    "too_large",
]
REASONS: Final[tuple[str, ...]] = get_args(Reason)


class JSONRejected(ValueError):  # noqa: N818 - a verdict on the document, not an error
    """A document that is not JSON, or is beyond the limits: `.reason` says why and `.offset` where.

    `.offset` is the length of the longest prefix that some continuation would make an accepted document, limits on
    depth and digits included; 0-based, in characters of a str or bytes of bytes. It equals the document's length when
    the document is merely unfinished. Only `too_large` is not located: such a document is not read, its offset is 0.
    """

    def __init__(self, reason: Reason, offset: int) -> None:
        super().__init__(reason, offset)  # both in args, so that it pickles
        self.reason: Reason = reason
        self.offset = offset

    def __str__(self) -> str:
        return f"{self.reason} at offset {self.offset}"


def parse_json(document: str | bytes) -> Any:
    """The value of a JSON document.

    Args:
        document: text, or bytes of UTF-8 without a byte order mark; at most `MAX_BYTES` of UTF-8.

    Returns:
        None, bool, int, float, str, list or dict, as `json.loads` has them.

    Raises:
        JSONRejected: when it is no JSON or is beyond a limit; a ValueError with `.reason` and `.offset`.

    Example:
        >>> parse_json("[1, 2, 3]")
        [1, 2, 3]
        >>> parse_json("[1, 2, 3, 4)")  # JSONRejected: .reason "unexpected_character", .offset 11
    """
    encoded = document if isinstance(document, bytes) else document.encode("utf-8", "surrogatepass")
    if len(encoded) > MAX_BYTES:
        raise JSONRejected("too_large", 0)
    return _parse_bytes(document) if isinstance(document, bytes) else _parse_text(document)


def notes_on(document: str) -> tuple[str, ...]:
    """What an accepted document has that its value does not show: `duplicate_key`, `lone_surrogate`."""
    notes = []
    if document.count(":") > 1 and _has_duplicate_key(document):
        notes.append("duplicate_key")
    if "\\u" in document and end_of_whole_characters(document) < len(document):
        notes.append("lone_surrogate")
    return tuple(notes)


def end_of_whole_characters(text: str, start: int = 0) -> int:
    """Offset of the first escape, from the start on, that is unfinished or half of a surrogate pair; or of the end."""
    whole = _WHOLE_CHARACTERS.match(text, start)
    return whole.end() if whole else start


def decode(decoder: json.JSONDecoder, text: str) -> Any:
    """The decoder's value, however little of the interpreter's stack the caller has left."""
    try:
        return decoder.decode(text)
    except RecursionError:
        # Python 3.11 counts the scanner's nesting and the caller's frames together; a new thread has no callers.
        with ThreadPoolExecutor(max_workers=1) as fresh_stack:
            return fresh_stack.submit(decoder.decode, text).result()


_WHOLE_CHARACTERS = re.compile(
    r"(?:[^\\]++|\\[^u]|\\u(?:[^dD]...|[dD][0-7]..|[dD][89abAB]..\\u[dD][c-fC-F]..))*+", re.DOTALL
)
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_TOO_MANY_DIGITS = re.compile(rf"[0-9]{{{MAX_DIGITS + 1}}}")


def _finite(number: str) -> float:
    value = float(number)
    if math.isinf(value):
        raise ValueError(number)
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


_DECODER = json.JSONDecoder(parse_float=_finite, parse_constant=_refuse_constant)


def _parse_bytes(document: bytes) -> Any:
    try:
        text = document.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _ill_formed(document, error) from None
    try:
        return _parse_text(text)
    except JSONRejected as rejected:
        raise JSONRejected(rejected.reason, len(text[: rejected.offset].encode("utf-8"))) from None


def _ill_formed(document: bytes, error: UnicodeDecodeError) -> JSONRejected:
    """What is wrong with bytes that are not UTF-8, if nothing before them is."""
    sound = document[: error.start].decode("utf-8")
    try:
        # A character beyond ASCII may stand inside a string and nowhere else, and so may the start of one.
        _parse_text(sound + "\u00e9")
    except JSONRejected as rejected:
        if rejected.offset <= len(sound):
            return JSONRejected(rejected.reason, len(sound[: rejected.offset].encode("utf-8")))
    if error.reason == "invalid start byte":
        return JSONRejected("invalid_unicode", error.start)
    return JSONRejected("unexpected_end" if error.end == len(document) else "invalid_unicode", error.end)


def _parse_text(text: str) -> Any:
    if _scanner_may_be_lenient(text):
        _Automaton(text).run()
    try:
        with contextlib.suppress(ValueError):  # the scanner's, or one of the two above
            return decode(_DECODER, text)
    except RecursionError:  # only where the process has lowered the interpreter's own limit below ours
        raise JSONRejected("too_deep", 0) from None
    _Automaton(text).run()
    # The scanner refused what the grammar takes, which no release of it does: refused all the same, never passed on.
    raise JSONRejected("unexpected_character", 0)


def _scanner_may_be_lenient(text: str) -> bool:
    """Whether a text may have what the scanner takes and we refuse, other than what its hooks refuse already."""
    return (
        text.count("[") + text.count("{") > MAX_DEPTH
        or (len(text) > MAX_DIGITS and _TOO_MANY_DIGITS.search(text) is not None)
        or not (text.isascii() or _SURROGATE.search(text) is None)
    )


def _has_duplicate_key(document: str) -> bool:
    objects: list[list[tuple[str, Any]]] = []
    decode(json.JSONDecoder(object_pairs_hook=objects.append), document)
    return any(len(pairs) != len(dict(pairs)) for pairs in objects)


_CLOSER_OF: Final = {"[": "]", "{": "}"}
_LITERALS: Final = {"t": "true", "f": "false", "n": "null"}
_DIGITS: Final = frozenset("0123456789")
_SPACE = re.compile(r"[ \t\n\r]*+")
_PLAIN = r'[^"\\\x00-\x1f\ud800-\udfff]*+'
_STRING = re.compile(rf'"{_PLAIN}(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{{4}}){_PLAIN})*+("?)')
_PARTIAL_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{0,3}+)?")
_DIGIT_RUN = re.compile(rf"[0-9]{{0,{MAX_DIGITS}}}+")
_EXPONENT = re.compile(r"[eE]([+-]?)([0-9]*)\Z")


class _Automaton:
    """A cursor, the brackets that are open, and what comes next. Never recurses, builds no values."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self.closers: list[str] = []
        """What closes each open container, innermost last."""
        self.step: Callable[[], None] | None = self._value
        """Reads what the grammar has next; None after a whole document."""

    def run(self) -> None:
        """Raises JSONRejected for the first fault; returns when there is none."""
        while self.step is not None:
            self.step()

    def _peek(self) -> str:
        """The character under the cursor, or nothing at the end."""
        return self.text[self.position : self.position + 1]

    def _next(self) -> str:
        """The first character that is not white space, or nothing at the end."""
        self._skip(_SPACE)
        return self._peek()

    def _skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self.text, self.position)
        self.position = match.end() if match else self.position

    def _refuse(self, reason: Reason) -> NoReturn:
        """The character under the cursor cannot stand there; where there is none, the text is just unfinished."""
        at_end = self.position >= len(self.text)
        raise JSONRejected("unexpected_end" if at_end else reason, self.position)

    def _value(self) -> None:
        character = self._next()
        if character in _CLOSER_OF:
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
        self.step = self._after

    def _open(self, opener: str) -> None:
        if len(self.closers) >= MAX_DEPTH:
            self._refuse("too_deep")
        self.closers.append(_CLOSER_OF[opener])
        self.position += 1
        self.step = self._first

    def _close(self) -> None:
        self.closers.pop()
        self.position += 1
        self.step = self._after

    def _first(self) -> None:
        """The container just opened ends, or its first item or member comes."""
        if self._next() == self.closers[-1]:
            self._close()
        else:
            self._item()

    def _item(self) -> None:
        """An array's value, or an object's key; the key's value comes with the next step."""
        if self.closers[-1] == "]":
            self._value()
            return
        if self._next() != '"':
            self._refuse("unexpected_character")
        self._string()
        if self._next() != ":":
            self._refuse("unexpected_character")
        self.position += 1
        self.step = self._value

    def _after(self) -> None:
        """A value has ended: the document does too, or its container, or another item comes."""
        character = self._next()
        if not self.closers:
            if character:
                self._refuse("trailing_text")
            self.step = None
        elif character == self.closers[-1]:
            self._close()
        elif character == ",":
            self.position += 1
            if self._next() == self.closers[-1]:
                self._refuse("trailing_comma")
            self._item()
        else:
            self._refuse("unexpected_character")

    def _literal(self, literal: str) -> None:
        for expected in literal:
            if self._peek() != expected:
                self._refuse("invalid_literal")
            self.position += 1

    def _string(self) -> None:
        string = _STRING.match(self.text, self.position)
        assert string is not None, "the caller has seen the quote"
        self.position = string.end()
        if string[1]:
            return
        stopper = self._peek()
        if stopper == "\\":
            self._skip(_PARTIAL_ESCAPE)
            self._refuse("invalid_escape")
        self._refuse("control_character" if stopper < " " else "invalid_unicode")

    def _number(self) -> None:
        begin = self.position
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
        self._skip(_DIGIT_RUN)
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


def _smallest_number(prefix: str) -> str:
    """The number of least magnitude that starts with the prefix and keeps to the limit on digits."""
    exponent = _EXPONENT.search(prefix)
    if exponent is None:
        return f"{prefix}{'0' if prefix.endswith('.') else ''}e-{'9' * MAX_DIGITS}"
    sign, digits = exponent.groups()
    if sign == "-" or not sign + digits:
        return f"{prefix}{'' if sign else '-'}{'9' * (MAX_DIGITS - len(digits))}"
    return prefix if digits else f"{prefix}0"
