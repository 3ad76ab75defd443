"""Task files of the user's own: JSON lines, checked line by line, to tasks without a split.

A line holds `prompt` and, where known, `schema` and `target` (any JSON value), `messages` (a conversation that stands
in for the worked-examples prompt), `family` and `fences`. Every mistake is a DataError with file and line; nothing is
skipped but empty lines.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pipelines.errors import DataError, nearest
from pipelines.records import Message, Task
from pipelines.rewards import JSONRejected, check_task, parse_json
from pipelines.tasks.keys import task_key

FIELDS = ("prompt", "schema", "target", "messages", "family", "fences")
ROLES = ("system", "user", "assistant")


def load_task_file(path: Path) -> list[Task]:
    """The tasks of a file in its order, all in the `train` split for now."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); name a UTF-8 file of JSON lines") from error
    tasks = [_task(path, number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    seen: set[str] = set()
    for task in tasks:
        if task.id in seen:
            raise DataError(f"{path}: holds the task {task.prompt[:80]!r} twice, word for word; take one out")
        seen.add(task.id)
    if not tasks:
        raise DataError(f"{path}: holds no task; write one JSON object with a `prompt` per line")
    return tasks


def _task(path: Path, number: int, line: str) -> Task:
    where = f"{path}:{number}"
    row = _row(where, line)
    schema = json.dumps(row["schema"]) if "schema" in row else None
    target = json.dumps(row["target"]) if "target" in row else None
    try:
        check_task(schema, target)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
    fences = row.get("fences", "forbid")
    if fences not in ("forbid", "unwrap"):
        raise DataError(f"{where}: fences must be forbid or unwrap, got {fences!r}; leave it out for forbid")
    return Task(
        # Named by content, not by line: a sample keeps to its task when lines are put in.
        id=f"{path.stem}/{hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()[:16]}",
        family=_text(where, "family", row.get("family", path.stem)),
        key=task_key(target, row["prompt"], schema),
        split="train",
        prompt=_text(where, "prompt", row["prompt"]),
        schema=schema,
        target=target,
        messages=_messages(where, row["messages"]) if "messages" in row else None,
        fences=fences,
    )


def _row(where: str, line: str) -> dict[str, Any]:
    try:
        row = parse_json(line.strip())
    except JSONRejected as error:
        raise DataError(f"{where}: not JSON ({error}); write one JSON object per line") from error
    if not isinstance(row, dict) or "prompt" not in row:
        raise DataError(f"{where}: must be an object with a `prompt`, got {line.strip()[:80]!r}; add one")
    for field in row:
        if field not in FIELDS:
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


def _messages(where: str, value: Any) -> tuple[Message, ...]:
    rule = f"messages must be a list of {{role, content}}, the last one the user's; roles are {', '.join(ROLES)}"
    if not isinstance(value, list) or not value:
        raise DataError(f"{where}: {rule}; got {value!r}")
    for message in value:
        if not isinstance(message, dict) or set(message) != {"role", "content"} or message["role"] not in ROLES:
            raise DataError(f"{where}: {rule}; got {message!r}")
        _text(where, "content", message["content"])
    if value[-1]["role"] != "user":
        raise DataError(f"{where}: {rule}; got {value[-1]['role']!r} last")
    return tuple(value)
