"""The key a split may not cut through: tasks with one right value, or of one request, stay on one side."""

from __future__ import annotations

import hashlib
import json


def task_key(target: str | None, prompt: str, schema: str | None) -> str:
    """16 hex digits naming a task's target (whatever its family), or its prompt and schema where it has no target.

    `target` and `schema` are JSON text; spacing and the order of object keys do not matter.
    """
    identity = ["prompt", prompt, _canonical(schema)] if target is None else ["target", _canonical(target)]
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]


def _canonical(text: str | None) -> str | None:
    return None if text is None else json.dumps(json.loads(text), sort_keys=True)
