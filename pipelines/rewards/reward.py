"""One number for a verdict, and the verifier as a reward function of TRL's signature.

Reads verdicts, or prompts and completions with their tasks' columns. Returns scores in [0, 1]: tiers count in order and
an earlier one is never bought with a later one, so for verdicts on one task more tiers passed is a strictly higher
score, and 1 means all that the task defines. Verdicts keep their tiers, so old ones can be scored anew. Raises
`ConfigError` for credits that do not rise. The same verdict drives pairs, GRPO and RLOO.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any, Final

from pipelines.errors import ConfigError
from pipelines.records import TIERS, FencePolicy, Task, Verdict
from pipelines.rewards.verdicts import verify


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Scoring:
    """Credit for having passed every tier up to this one; each in (0, 1] and above the one before it."""

    parses: float = 0.1
    root_type: float = 0.2
    schema_valid: float = 0.5
    exact_match: float = 1.0

    def __post_init__(self) -> None:
        below = 0.0
        for tier in TIERS:
            credit = getattr(self, tier)
            if not below < credit <= 1:
                rule = f"above {below:g} and at most 1"
                raise ConfigError(f"{tier} must be {rule}, got {credit!r}; let credits rise from tier to tier")
            below = credit


DEFAULT_SCORING: Final = Scoring()


def score(verdict: Verdict, scoring: Scoring = DEFAULT_SCORING) -> float:
    """Credit of the last tier passed before any failed, as a fraction of the credit of the last tier defined; what the
    user's own verifier gave, where there is one.

    Args:
        verdict: what `verify` said.
        scoring: the credit of each tier.

    Returns:
        A score in [0, 1]: 0 when nothing passed, 1 when every tier that the task defines did; the user's own on its
        own scale. Raises nothing.

    Example:
        >>> score(Verdict(parses=True, root_type=True, schema_valid=True, exact_match=False))
        0.5
    """
    if verdict.score is not None:
        return verdict.score
    defined = [tier for tier in TIERS if getattr(verdict, tier) is not None]
    passed = list(itertools.takewhile(lambda tier: getattr(verdict, tier), defined))
    return float(getattr(scoring, passed[-1]) / getattr(scoring, defined[-1])) if passed else 0.0


def json_reward(
    prompts: Sequence[Any], completions: Sequence[Any], *, scoring: Scoring = DEFAULT_SCORING, **columns: Any
) -> list[float | None]:
    """A score per completion, in order; TRL's reward signature.

    Safe to pickle and to call from any thread: no signals, no subprocesses, no state but caches. Does not see whether a
    completion was cut off, because TRL does not say.

    Args:
        prompts: not read; TRL passes them.
        completions: texts, or conversations whose last message is the answer.
        scoring: the credit of each tier.
        columns: of the dataset, each as long as `completions` and each optional: `schema` and `target` (JSON text or
            None per row), `targets` (a list of accepted JSON texts), `fences` (a policy or None per row). Others are
            ignored. A row without any of these is verified on parsing alone, so none is abstained from.

    Returns:
        Scores in [0, 1].

    Raises:
        DataError: when a row's own schema or target is broken.
        ValueError: when a column is of another length.

    Example:
        >>> json_reward(["Write [1]."] * 2, ["[1]", "[1)"], target=["[1]", "[1]"])
        [1.0, 0.0]
    """
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
