"""Task files of the user's own: JSON lines, read and checked line by line, to tasks without a split.

A line holds `prompt` (text, or messages that end with the user's turn) and, where known, `schema`, `target` (any JSON
value) or `targets` (a list of accepted ones), `few_shot` (a conversation that stands in for the few-shot prompt),
or `answer_schema` (what an accepted value fits, seen by the verifier alone), `family`, `group`, `split`, `fences`,
`columns` (what else a verifier of the user's own is told), and the field that lines are grouped by if one is named.
Every mistake is a DataError with file and line; nothing is skipped but empty lines.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipelines.errors import DataError, nearest
from pipelines.records import Message, Split, Task
from pipelines.rewards import JSONRejected, check_task, parse_json
from pipelines.tasks.keys import task_key

FIELDS = (
    *("prompt", "schema", "target", "targets", "answer_schema", "few_shot", "family", "group", "split", "fences"),
    "columns",
)
SPLITS: tuple[Split, ...] = ("train", "test", "example")
ROLES = ("system", "user", "assistant")


def iterate_task_file(path: Path, group_by: str | None = None) -> Iterator[tuple[Task, bool]]:
    """(task, whether its line says in which split it is) in the file's order; the others are in `train` for now.

    The key is the prompt's, or what `group_by` names: `target`, or a field of each line. That a task stands there twice
    is for the caller to see.
    """
    task = None
    for where, line in read_lines(path):
        task, is_placed = _task(path, where, line, group_by)
        yield task, is_placed
    if task is None:
        raise DataError(f"{path}: holds no task; write one JSON object with a `prompt` per line")


def read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """(file:line, text) of every line that is not empty, one by one; DataError for a file that is no UTF-8 text."""
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield f"{path}:{number}", line
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); name a UTF-8 file of JSON lines") from error


def _task(path: Path, where: str, line: str, group_by: str | None) -> tuple[Task, bool]:
    row = _row(where, line, group_by)
    schema, answer_schema = (json.dumps(row[name]) if name in row else None for name in ("schema", "answer_schema"))
    targets = _targets(where, row)
    try:
        for target in targets or (None,):
            check_task(schema, target)
        check_task(answer_schema, None)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
    columns = row.get("columns", {})
    if not isinstance(columns, dict):
        raise DataError(f"{where}: columns must be an object, got {columns!r}; write name: value in it")
    task = Task(
        # Named by content, not by line: a sample keeps to its task when lines are put in.
        id=f"{path.stem}/{hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()[:16]}",
        family=_text(where, "family", row.get("family", path.stem)),
        key=_key(where, row, group_by),
        split=_one_of(where, row, "split", SPLITS),
        prompt=_prompt(where, row["prompt"]),
        schema=schema,
        targets=targets,
        few_shot=parse_messages(where, "few_shot", row["few_shot"]) if "few_shot" in row else None,
        group=_text(where, "group", row["group"]) if "group" in row else None,
        fences=_one_of(where, row, "fences", ("forbid", "unwrap")),
        answer_schema=answer_schema,
        columns=json.dumps(columns) if columns else None,
    )
    return task, "split" in row


def _one_of(where: str, row: dict[str, Any], field: str, known: tuple[Any, ...]) -> Any:
    """The field's value; the first of those known where it is left out."""
    value = row.get(field, known[0])
    if value not in known:
        raise DataError(f"{where}: {field} must be {', '.join(known[:-1])} or {known[-1]}, got {value!r}; fix it")
    return value


def _prompt(where: str, value: Any) -> str | tuple[Message, ...]:
    return parse_messages(where, "prompt", value) if isinstance(value, list) else _text(where, "prompt", value)


def _targets(where: str, row: dict[str, Any]) -> tuple[str, ...]:
    """The accepted values as JSON text: those of `targets`, or the one of `target`."""
    given = [name for name in ("target", "targets", "answer_schema") if name in row]
    if len(given) > 1:
        raise DataError(f"{where}: has both {given[0]} and {given[1]}; put all accepted values into targets")
    if "target" in row:
        return (json.dumps(row["target"]),)
    accepted = row.get("targets", [])
    if not isinstance(accepted, list) or ("targets" in row and not accepted):
        raise DataError(f"{where}: targets must be a list of accepted values, got {accepted!r}; or write target: value")
    return tuple(map(json.dumps, accepted))


def _key(where: str, row: dict[str, Any], group_by: str | None) -> str:
    """What keeps a line on one side of the split with others."""
    asked = json.dumps(row["prompt"])
    if group_by == "target" and (targets := _targets(where, row)):
        return task_key(targets[0], asked, None)
    if group_by in (None, "target"):
        return task_key(None, asked, None)
    if group_by not in row:
        raise DataError(f"{where}: has no field {group_by!r}, which tasks.group_by names; add it, or group by target")
    return hashlib.sha256(json.dumps([group_by, row[group_by]], sort_keys=True).encode()).hexdigest()[:16]


def _row(where: str, line: str, group_by: str | None) -> dict[str, Any]:
    try:
        row = parse_json(line.strip())
    except JSONRejected as error:
        raise DataError(f"{where}: not JSON ({error}); write one JSON object per line") from error
    if not isinstance(row, dict) or "prompt" not in row:
        raise DataError(f"{where}: must be an object with a `prompt`, got {line.strip()[:80]!r}; add one")
    for field in row:
        if field not in FIELDS and field != group_by:
            raise DataError(
                f"{where}: unknown field {field!r}; did you mean {nearest(field, FIELDS)!r}? "
                f"(known: {', '.join(FIELDS)})"
            )
    return row


def _text(where: str, field: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where}: {field} must be a text, got {value!r}; write it in double quotes")
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise DataError(f"{where}: {field} must be Unicode text, got a lone surrogate in {value!r}; take it out")
    return value


def parse_messages(where: str, field: str, value: Any) -> tuple[Message, ...]:
    """A conversation that ends with the user's turn; DataError names where it stands."""
    rule = f"{field} must be a list of {{role, content}}, the last one the user's; roles are {', '.join(ROLES)}"
    if not isinstance(value, list) or not value:
        raise DataError(f"{where}: {rule}; got {value!r}")
    for message in value:
        if not isinstance(message, dict) or set(message) != {"role", "content"} or message["role"] not in ROLES:
            raise DataError(f"{where}: {rule}; got {message!r}")
        _text(where, "content", message["content"])
    if value[-1]["role"] != "user":
        raise DataError(f"{where}: {rule}; got {value[-1]['role']!r} last")
    return tuple(value)
