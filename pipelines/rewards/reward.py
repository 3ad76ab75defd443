"""The verifier as a reward function of TRL's signature, so that the same verdict drives pairs, GRPO and RLOO.

Takes prompts, completions (texts, or conversations whose last message is the answer) and the dataset's columns
`schema` and `target` (JSON text or None per row), `targets` (a list of JSON texts) and `fences` (a policy per row), each optional; leaves one score per
completion. A row without schema and target is verified on parsing alone, so none is abstained from. Safe to pickle and to
call from any thread: no signals, no subprocesses, no state but caches. Does not see whether a completion was cut off,
because TRL does not say.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from pipelines.records import FencePolicy, Task
from pipelines.rewards.scoring import DEFAULT_SCORING, Scoring, score
from pipelines.rewards.verdicts import verify


def json_reward(
    prompts: Sequence[Any], completions: Sequence[Any], *, scoring: Scoring = DEFAULT_SCORING, **columns: Any
) -> list[float | None]:
    """A score in [0, 1] per completion, in order."""
    absent: list[None] = [None] * len(completions)
    names = ("schema", "target", "targets", "fences")
    rows = zip(completions, *(columns.get(name, absent) for name in names), strict=True)
    return [
        score(verify(_answer(completion), _task(schema, target, targets, policy)), scoring)
        for completion, schema, target, targets, policy in rows
    ]


def _task(schema: str | None, target: str | None, targets: Sequence[str] | None, fences: FencePolicy | None) -> Task:
    accepted = tuple(targets or ()) or (() if target is None else (target,))
    row = Task(id="row", family="row", key="row", split="train", prompt="", schema=schema, targets=accepted)
    return row if fences is None else dataclasses.replace(row, fences=fences)


def _answer(completion: Any) -> str:
    """A completion's text; a message without text, such as a bare tool call, is an empty answer."""
    content = completion if isinstance(completion, str) else completion[-1].get("content") if completion else ""
    if isinstance(content, list):  # parts of a multimodal message
        content = "".join(part.get("text") or "" for part in content)
    return content or ""
