"""Who says whether a completion is right: the JSON verifier, or a function of the user's own.

Reads `rewards.verifier`, `module:function` with the signature of TRL's reward functions; returns a callable that gives
a task's completions their verdicts. The function runs as code of this process, which is why it is only ever taken from
a config or `--set` that the user names. It is told the prompts, the completions and the task's columns, and returns a
score each; a completion passes at `rewards.pass_at`. What JSON makes of the completion is noted all the same.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import json
import math
import sys
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pipelines.config import Config
from pipelines.errors import ConfigError, DataError
from pipelines.records import FinishReason, Message, Task, Verdict
from pipelines.rewards.verdicts import verify

Said = tuple[str, FinishReason]
"""A completion and how it ended."""
Verifier = Callable[[Task, Sequence[Message], Sequence[Said]], list[Verdict]]
"""(task, the prompt, completions) → a verdict each."""
REJECTED = "rejected_by_verifier"


def build_verifier(config: Config) -> Verifier:
    """The verifier that `rewards` names; ConfigError, in one line, when there is no such function."""
    by_json = functools.partial(verify_json, assert_formats=config.tasks.assert_formats)
    rewards = config.rewards
    if rewards.verifier is None:
        return by_json
    return _Own(function=_load(rewards.verifier), name=rewards.verifier, pass_at=rewards.pass_at, by_json=by_json)


def verify_json(
    task: Task, prompt: Sequence[Message], said: Sequence[Said], *, assert_formats: bool = False
) -> list[Verdict]:
    """What `verify` says of each."""
    return [verify(text, task, reason, assert_formats=assert_formats) for text, reason in said]


def _load(name: str) -> Callable[..., Any]:
    module, _, function = name.partition(":")
    if not (module and function):
        raise ConfigError(f"rewards.verifier must be module:function, got {name!r}; e.g. my_rewards:passes_tests")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)  # a console script's own path does not hold the folder it is called in
    try:
        found: Any = getattr(importlib.import_module(module), function)
    except Exception as error:  # whatever the user's own module raises
        raise ConfigError(f"rewards.verifier {name!r} cannot be imported ({_said(error)}); fix it") from error
    if not callable(found):
        raise ConfigError(f"rewards.verifier {name!r} is no function, but {found!r}; name one")
    return typing.cast("Callable[..., Any]", found)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Own:
    """A function of the user's own as a Verifier."""

    function: Callable[..., Any]
    name: str
    pass_at: float
    by_json: Verifier

    def __call__(self, task: Task, prompt: Sequence[Message], said: Sequence[Said]) -> list[Verdict]:
        return [
            dataclasses.replace(
                verdict,
                score=score,
                verified=score >= self.pass_at,
                reason=None if score >= self.pass_at else verdict.reason or REJECTED,
            )
            for verdict, score in zip(self.by_json(task, prompt, said), self._scores(task, prompt, said), strict=True)
        ]

    def _scores(self, task: Task, prompt: Sequence[Message], said: Sequence[Said]) -> list[float]:
        columns = {
            **json.loads(task.columns or "{}"),
            "task_id": task.id,
            "schema": task.schema,
            "target": task.target,
            "targets": list(task.targets),
            "group": task.group,
        }
        try:
            scores = self.function(
                prompts=[list(prompt)] * len(said),
                completions=[[{"role": "assistant", "content": text}] for text, _ in said],
                **{name: [value] * len(said) for name, value in columns.items()},
                finish_reason=[reason for _, reason in said],
            )
        except Exception as error:  # whatever the user's own function raises
            raise DataError(
                f"rewards.verifier {self.name!r} failed on task {task.id!r} ({_said(error)}); fix it"
            ) from error
        return _checked(scores, len(said), f"rewards.verifier {self.name!r} on task {task.id!r}")


def _checked(scores: Any, count: int, where: str) -> list[float]:
    """The scores as numbers; DataError for what is none, or not one for each completion."""
    try:
        values = list(scores)
    except TypeError:
        raise DataError(f"{where}: must return a list of scores, got {scores!r}; return one for each") from None
    if len(values) != count:
        raise DataError(f"{where}: returned {len(values)} scores for {count} completions; return one for each")
    for value in values:
        if isinstance(value, bool | int | float) and math.isfinite(value):
            continue
        raise DataError(f"{where}: a score must be a finite number, got {value!r}; return one, 0 for a failure")
    return [float(value) for value in values]


def _said(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
