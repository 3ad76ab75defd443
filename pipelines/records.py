"""The nouns of the house: Task, Completion, Verdict and Pair, and their one way to and from JSON lines.

Takes and leaves plain Python values; a record is frozen, checked when it is made, and safe to hash and compare. JSON
values of mixed type (a schema, a target) are kept as JSON text, as a dataset column has to. Knows nothing of models,
files or scores.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar

from pipelines.errors import DataError

FencePolicy = Literal["forbid", "unwrap"]
FinishReason = Literal["stop", "length"]
Prompting = Literal["worked_examples", "bare"]
Split = Literal["train", "held_out", "example"]
Message = dict[str, str]

TIERS = ("parses", "root_type", "schema_valid", "exact")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One request for JSON, with what is known about a right answer."""

    id: str
    """Unique within a run, e.g. `range/1-3`."""
    family: str
    """The group that rates are reported for: a procedural family, or a task file's name."""
    key: str
    """What a split may not cut through: a hash of the target, or of prompt and schema where there is no target."""
    split: Split
    """`train`, `held_out` or `example` (kept for worked examples: neither trained on nor evaluated)."""
    prompt: str
    """The request in words, as a bare user message."""
    schema: str | None = None
    """JSON Schema as JSON text; None when the task defines none."""
    target: str | None = None
    """The one right value as JSON text; None when the task defines none (`null` is the text `"null"`)."""
    messages: tuple[Message, ...] | None = None
    """A conversation that stands in for the worked-examples prompt; None to have one built."""
    fences: FencePolicy = "forbid"
    """What a Markdown code fence around the whole answer means: a mistake, or packaging to take off."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Completion:
    """One sample from a policy for one task."""

    task_id: str
    index: int
    """Which of the task's samples this is, from 0."""
    prompting: Prompting
    text: str
    finish_reason: FinishReason
    """`stop` when the policy ended it, `length` when the token limit cut it off."""
    prompt_tokens: int
    completion_tokens: int
    """Tokens sampled, the end-of-turn token included."""
    logprob_nats: float | None
    """Sum of the sampled tokens' log-probabilities under the policy's own distribution; None where unknown."""
    seed: int


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What the validator says of one completion, tier by tier. A tier the task does not define is None."""

    parses: bool
    root_type: bool | None = None
    schema_valid: bool | None = None
    exact: bool | None = None
    reason: str | None = None
    """Why the first tier that failed did; None when none failed."""
    offset: int | None = None
    """Length in characters of the longest prefix that could still become valid JSON; None when it parses."""
    finish_reason: FinishReason = "stop"
    notes: tuple[str, ...] = ()
    """What was accepted but is worth knowing, e.g. `duplicate_key`, `lone_surrogate`, `unwrapped_fence`."""

    @property
    def tiers(self) -> tuple[bool, ...]:
        """The defined tiers in order; verdicts on one task compare by it, lexicographically."""
        return tuple(passed for name in TIERS if (passed := getattr(self, name)) is not None)

    @property
    def passed(self) -> bool:
        """Whether every tier that the task defines holds."""
        return all(self.tiers)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """Two completions of one task of which the validator prefers the first."""

    task_id: str
    chosen_index: int
    rejected_index: int
    margin: float
    """Score of the chosen minus score of the rejected, in (0, 1]."""


Record = TypeVar("Record", Task, Completion, Verdict, Pair)


def to_json(record: Any) -> dict[str, Any]:
    """A record as a JSON-ready dict."""
    return dataclasses.asdict(record)


def from_json(kind: type[Record], row: dict[str, Any]) -> Record:
    """The record that `to_json` wrote; raises TypeError on missing or unknown fields."""
    fields = {field.name: field for field in dataclasses.fields(kind)}
    tuples = {name: tuple(value) for name, value in row.items() if name in fields and isinstance(value, list)}
    return kind(**{**row, **tuples})


def dump_lines(records: Iterable[Any]) -> str:
    """Records as JSON lines. Lone surrogates survive because the text is ASCII."""
    return "".join(json.dumps(to_json(record)) + "\n" for record in records)


def load_lines(kind: type[Record], path: Path) -> list[Record]:
    """Every record of a JSON-lines file; DataError names file and line of the first bad one."""
    return [record for _, record in iterate_lines(kind, path)]


def iterate_lines(kind: type[Record], path: Path) -> Iterator[tuple[int, Record]]:
    """(line number from 1, record) for each line of a file that `dump_lines` wrote."""
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                yield number, from_json(kind, json.loads(line))
            except (ValueError, TypeError) as error:
                raise DataError(
                    f"{path}:{number}: not a {kind.__name__} record ({error}); delete the file to make it again"
                ) from error
