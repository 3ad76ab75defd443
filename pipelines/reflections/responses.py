"""One writer's answers as a file: the format `closing-questions/1`, and the only place that reads it.

Takes the path of a JSON file that a report page's form exported; leaves a `Response`, or raises DataError with one line
that says what is wrong, where, and what to do. The file is untrusted. Its format, one object in UTF-8:

    format   "closing-questions/1"
    run      text: the name of the run whose page was answered, without its folder
    handout  text or null: which handout asked
    written  text: when, an ISO 8601 date ("2026-05-04"), or a date and time, of which the rows keep the date alone
    name     text or null: who wrote it; null, left out or blank when the writer gave none
    answers  list of {"question": text, "answer": text}, at most 100, in the form's order; a question left blank is
             there with an empty answer

Other keys are passed over, so that a later form may say more. A byte order mark is passed over too (some editors add
one). Text is kept as it is, except that a question is put on one line, and half a surrogate pair, which no UTF-8 file
can hold, becomes U+FFFD.
"""

from __future__ import annotations

import dataclasses
import datetime
import re
from pathlib import Path
from typing import Any, NoReturn

from pipelines.errors import DataError
from pipelines.reflections.visible import is_blank, one_line
from pipelines.rewards import MAX_BYTES, JSONRejected, parse_json

FORMAT = "closing-questions/1"
_MOST_ANSWERS = 100
_SHOWN_CHARACTERS = 60
_AGAIN = "export it again with the form of the report page"
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """One question and what was written under it."""

    question: str
    """On one line, never empty."""
    text: str
    """Empty when the question was left blank."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Response:
    """What one writer exported. Two files with equal ones are the same export."""

    run: str
    handout: str | None
    written: datetime.datetime
    """Midnight where the file gives a date alone."""
    name: str | None
    """None unless the writer gave one."""
    answers: tuple[Answer, ...]

    def __post_init__(self) -> None:
        assert self.answers
        assert self.name is None or not is_blank(self.name)


def read_response(path: Path) -> Response:
    """The response in a file; DataError names the file, the line or the field, and what to do."""
    document = _decode(path, _read(path))
    try:
        tree = parse_json(document)
    except JSONRejected as rejected:
        before = document[: rejected.offset]
        line, column = before.count("\n") + 1, rejected.offset - before.rfind("\n")
        reason = rejected.reason.replace("_", " ")
        raise DataError(f"{one_line(str(path))}:{line}: not JSON ({reason} at column {column}); {_AGAIN}") from None
    try:
        return _from_tree(tree)
    except DataError as error:
        raise DataError(f"{one_line(str(path))}: {error}; {_AGAIN}") from None


def without_surrogates(text: str) -> str:
    """The text as UTF-8 can hold it."""
    return _SURROGATE.sub("\ufffd", text)


def _read(path: Path) -> bytes:
    shown = one_line(str(path))
    try:
        if path.is_dir():
            raise DataError(f"{shown}: a folder; name the files in it, as in {shown}/*.json")
        if path.exists() and not path.is_file():
            raise DataError(f"{shown}: neither a file nor a folder; name a JSON file")
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise DataError(f"{shown}: no such file; check its name and folder") from None
    except OSError as error:
        raise DataError(f"{shown}: cannot be read ({error.strerror}); check its name and permissions") from None
    if len(content) > MAX_BYTES:
        raise DataError(f"{shown}: must be at most {MAX_BYTES // 2**20} MiB, is larger; {_AGAIN}")
    return content


def _decode(path: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        byte = content[error.start]
        raise DataError(
            f"{one_line(str(path))}:{line}: not UTF-8 (byte 0x{byte:02x} at offset {error.start}); save it as UTF-8"
        ) from None


def _from_tree(tree: Any) -> Response:
    if not isinstance(tree, dict):
        _refuse("the file", "one JSON object", tree)
    if tree.get("format") != FORMAT:
        _refuse("format", repr(FORMAT), tree.get("format"))
    name = _optional(tree, "name")
    return Response(
        run=_text(tree.get("run"), "run"),
        handout=_optional(tree, "handout"),
        written=_when(tree.get("written")),
        name=None if name is None else name.strip(),
        answers=_answers(tree.get("answers")),
    )


def _answers(rows: Any) -> tuple[Answer, ...]:
    if not isinstance(rows, list) or not rows:
        _refuse("answers", "a list of at least one question with its answer", rows)
    if len(rows) > _MOST_ANSWERS:
        raise DataError(f"answers must be a list of at most {_MOST_ANSWERS}, got {len(rows)}")
    return tuple(_answer(row, f"answers[{place}]") for place, row in enumerate(rows))


def _answer(row: Any, where: str) -> Answer:
    if not isinstance(row, dict):
        _refuse(where, 'an object with "question" and "answer"', row)
    text = row.get("answer")
    if not isinstance(text, str):
        _refuse(f"{where}.answer", "a text", text)
    question = " ".join(_text(row.get("question"), f"{where}.question").split())
    return Answer(question=question, text="" if is_blank(text) else without_surrogates(text))


def _when(value: Any) -> datetime.datetime:
    text = _text(value, "written")
    try:
        return datetime.datetime.fromisoformat(text)
    except ValueError:
        _refuse("written", "an ISO 8601 date such as 2026-05-04", text)


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or is_blank(value):
        _refuse(where, "a text that is not blank", value)
    return without_surrogates(value)


def _optional(tree: dict[str, Any], key: str) -> str | None:
    value = tree.get(key)
    if value is not None and not isinstance(value, str):
        _refuse(key, "a text or null", value)
    return None if value is None or is_blank(value) else without_surrogates(value)


def _refuse(where: str, rule: str, value: Any) -> NoReturn:
    # A text is cut before it is quoted: it may be megabytes long.
    got = repr(value[: _SHOWN_CHARACTERS + 1]) if isinstance(value, str) else repr(value)
    raise DataError(f"{where} must be {rule}, got {one_line(got, _SHOWN_CHARACTERS)}")
