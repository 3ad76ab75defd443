"""Files as the form exports them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write one response; the arguments are its answers by question, `fields` what else differs from a plain one."""

    def write(file: str, answers: dict[str, str] | None = None, /, **fields: Any) -> Path:
        rows = [{"question": question, "answer": text} for question, text in (answers or {"Why?": file}).items()]
        plain = {"run": "default", "handout": None, "written": "2026-05-04", "name": None, "answers": rows}
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"format": "closing-questions/1", **plain, **fields}), encoding="utf-8")
        return path

    return write
