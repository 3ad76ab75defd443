"""Strict JSON: RFC 8259, all of it and nothing else, with limits of our own.

Takes a str or bytes (UTF-8 without a byte order mark) and leaves the value, or raises `JSONRejected` and nothing else.
The standard library's C scanner reads; it takes a little more than the grammar (NaN, infinities, raw surrogates) and
has limits that vary with the interpreter, and those gaps are closed here. Only a rejected document meets our own
grammar, in `automaton`, which says where and why. Every step is linear in the document's size.

Integers are exact at any accepted size. A number with a fraction or an exponent is a 64-bit float: one that would
overflow is refused, one that underflows is zero. Of duplicate keys the last wins, and an escaped lone surrogate
("\\ud800") stays one: the grammar permits both, `notes_on` reports them. Repairs nothing.
"""

from __future__ import annotations

import contextlib
import gc
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NoReturn

import orjson

from pipelines.rewards.automaton import Start, raise_first_fault
from pipelines.rewards.rejection import MAX_BYTES, MAX_DEPTH, MAX_DIGITS, JSONRejected
from pipelines.rewards.structure import Structure

_PAIRED_ESCAPES = re.compile(
    r"(?:[^\\]++|\\[^u]|\\u(?:[^dD]...|[dD][0-7]..|[dD][89abAB]..\\u[dD][c-fC-F]..))*+", re.DOTALL
)
_LONG_CHARACTERS: Final = 65_536


class _ConstantError(ValueError):
    """NaN, Infinity or -Infinity."""


def _refuse_constant(name: str) -> NoReturn:
    raise _ConstantError(name)


# orjson reads the floats because it refuses the ones that overflow, without a Python call for each.
_DECODER = json.JSONDecoder(parse_float=orjson.loads, parse_constant=_refuse_constant)


def parse_json(document: str | bytes) -> Any:
    """The value of a JSON document; raises JSONRejected with `.reason` and `.offset` when it is not one."""
    with without_collector(document):
        if isinstance(document, bytes):
            return _parse_bytes(document)
        if len(document) > MAX_BYTES // 4 and len(document.encode("utf-8", "surrogatepass")) > MAX_BYTES:
            raise JSONRejected("too_large", 0)
        return _parse_text(document)


def notes_on(document: str) -> tuple[str, ...]:
    """What an accepted document has that its value does not show: `duplicate_key`, `lone_surrogate`."""
    notes = []
    if document.count(":") > 1 and _has_duplicate_key(document):
        notes.append("duplicate_key")
    if "\\u" in document:
        paired = _PAIRED_ESCAPES.match(document)
        if paired and paired.end() < len(document):
            notes.append("lone_surrogate")
    return tuple(notes)


def decode(decoder: json.JSONDecoder, text: str) -> Any:
    """The decoder's value, however little of the interpreter's stack the caller has left."""
    try:
        return decoder.decode(text)
    except RecursionError:
        # Python 3.11 counts the scanner's nesting and the caller's frames together; a new thread has no callers.
        with ThreadPoolExecutor(max_workers=1) as fresh_stack:
            return fresh_stack.submit(decoder.decode, text).result()


def without_collector(document: str | bytes) -> contextlib.AbstractContextManager[None]:
    """A context in which the garbage collector rests, for a long document.

    Values are trees: looking for cycles in them again and again while they grow takes longer than reading them.
    """
    return _collector_paused() if len(document) > _LONG_CHARACTERS else contextlib.nullcontext()


@contextlib.contextmanager
def _collector_paused() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _parse_bytes(document: bytes) -> Any:
    if len(document) > MAX_BYTES:
        raise JSONRejected("too_large", 0)
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
    # A document this short exceeds no limit, and if it is rejected, the automaton soon reads it from its start.
    short = len(text) <= MAX_DIGITS and text.count("[") + text.count("{") <= MAX_DEPTH
    structure = None if short else Structure(text)
    beyond = _first_beyond_scanner(text, structure)
    try:
        value = decode(_DECODER, text if beyond is None else text[:beyond])
        stop = beyond
    except orjson.JSONDecodeError as error:  # a float that overflows, whose text is error.doc
        stop = structure.first_number(error.doc) if structure else 0
    except json.JSONDecodeError as error:
        stop = error.pos
    except _ConstantError:
        stop = structure.first_constant() if structure else 0
    except RecursionError:  # only where the process has lowered the interpreter's own limit below ours
        raise JSONRejected("too_deep", 0) from None
    if stop is None:
        return value
    start = structure.start_before(stop) if structure else Start()
    raise_first_fault(text, start)
    # The scanner refused what the grammar takes, which no release of it does: refused all the same, never passed on.
    raise JSONRejected("unexpected_character", start.position)


def _first_beyond_scanner(text: str, structure: Structure | None) -> int | None:
    """Offset of the first thing that the scanner would take and we refuse, if no fault comes before it."""
    beyond = structure.first_beyond_limits() if structure else None
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:  # a raw surrogate
            return error.start if beyond is None else min(beyond, error.start)
    return beyond


def _has_duplicate_key(document: str) -> bool:
    # The hook only collects each object's pairs, so that hundreds of thousands of objects cost no Python calls.
    objects: list[list[tuple[str, Any]]] = []
    decode(json.JSONDecoder(object_pairs_hook=objects.append), document)
    several = [pairs for pairs in objects if len(pairs) > 1]
    return sum(map(len, several)) != sum(map(len, map(dict, several)))
