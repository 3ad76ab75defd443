"""The verifier as a reward function of TRL's signature, so that the same judgement drives pairs, GRPO and RLOO.

Takes prompts, completions (texts, or conversations whose last message is the answer) and the dataset's columns
`schema` and `target` (JSON text or None per row) and `fences` (a policy per row), each optional; leaves one score per
completion. A row without schema and target is judged on parsing alone, so none is abstained from. Safe to pickle and to
call from any thread: no signals, no subprocesses, no state but caches. Does not see whether a completion was cut off,
because TRL does not say.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from pipelines.records import FencePolicy, Task
from pipelines.rewards.scoring import DEFAULT_SCORING, Scoring, score
from pipelines.rewards.verdicts import judge


def json_reward(
    prompts: Sequence[Any], completions: Sequence[Any], *, scoring: Scoring = DEFAULT_SCORING, **columns: Any
) -> list[float | None]:
    """A score in [0, 1] per completion, in order."""
    absent: list[None] = [None] * len(completions)
    schemas, targets, fences = (columns.get(name, absent) for name in ("schema", "target", "fences"))
    return [
        score(judge(_answer(completion), _task(schema, target, policy)), scoring)
        for completion, schema, target, policy in zip(completions, schemas, targets, fences, strict=True)
    ]


def _task(schema: str | None, target: str | None, fences: FencePolicy | None) -> Task:
    row = Task(id="row", family="row", key="row", split="train", prompt="", schema=schema, target=target)
    return row if fences is None else dataclasses.replace(row, fences=fences)


def _answer(completion: Any) -> str:
    """A completion's text; a message without text, such as a bare tool call, is an empty answer."""
    content = completion if isinstance(completion, str) else completion[-1].get("content") if completion else ""
    if isinstance(content, list):  # parts of a multimodal message
        content = "".join(part.get("text") or "" for part in content)
    return content or ""
