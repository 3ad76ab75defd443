"""Task files of the user's own: JSON lines, checked line by line, to tasks without a split.

A line holds `prompt` (text, or messages that end with the user's turn) and, where known, `schema`, `target` (any JSON
value) or `targets` (a list of accepted ones), `few_shot` (a conversation that stands in for the few-shot prompt),
`family`, `group`, `fences`, and the field that lines are grouped by if one is named. Every mistake is a
DataError with file and line; nothing is skipped but empty lines.
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

FIELDS = ("prompt", "schema", "target", "targets", "few_shot", "family", "group", "fences")
ROLES = ("system", "user", "assistant")


def load_task_file(path: Path, group_by: str | None = None) -> list[Task]:
    """The tasks of a file in its order, all in the `train` split for now.

    The key is the prompt's, or what `group_by` names: `target`, or a field of each line.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); name a UTF-8 file of JSON lines") from error
    tasks = [_task(path, number, line, group_by) for number, line in enumerate(lines, start=1) if line.strip()]
    seen: set[str] = set()
    for task in tasks:
        if task.id in seen:
            raise DataError(f"{path}: holds the task {task.request[:80]!r} twice, word for word; take one out")
        seen.add(task.id)
    if not tasks:
        raise DataError(f"{path}: holds no task; write one JSON object with a `prompt` per line")
    return tasks


def _task(path: Path, number: int, line: str, group_by: str | None) -> Task:
    where = f"{path}:{number}"
    row = _row(where, line, group_by)
    schema = json.dumps(row["schema"]) if "schema" in row else None
    targets = _targets(where, row)
    try:
        for target in targets or (None,):
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
        key=_key(where, row, group_by),
        split="train",
        prompt=_prompt(where, row["prompt"]),
        schema=schema,
        targets=targets,
        few_shot=parse_messages(where, "few_shot", row["few_shot"]) if "few_shot" in row else None,
        group=_text(where, "group", row["group"]) if "group" in row else None,
        fences=fences,
    )


def _prompt(where: str, value: Any) -> str | tuple[Message, ...]:
    return parse_messages(where, "prompt", value) if isinstance(value, list) else _text(where, "prompt", value)


def _targets(where: str, row: dict[str, Any]) -> tuple[str, ...]:
    """The accepted values as JSON text: those of `targets`, or the one of `target`."""
    if "target" in row and "targets" in row:
        raise DataError(f"{where}: has both target and targets; put all accepted values into targets")
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
