"""The core records: Task, Sample, Verdict and Pair, and their one way to and from JSON lines.

Plain Python values; a record is frozen, checked when it is made, and safe to compare. JSON values of mixed type (a
schema, a target) are kept as JSON text, as a dataset column has to. Files are read a line at a time, so that they may
hold more than fits into memory. Knows nothing of models or scores.
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
Source = Literal["zero_shot", "few_shot", "grammar", "repair"]
Split = Literal["train", "validation", "test", "example"]
Message = dict[str, str]

TIERS = ("parses", "root_type", "schema_valid", "exact_match")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One request for JSON, with what is known about a right answer."""

    id: str
    """Unique within a run, e.g. `range/1-3`."""
    family: str
    """The group that rates are reported for: a procedural family, or a task file's name."""
    key: str
    """What a split may not cut through: a hash of the target (procedural families), the prompt or the group."""
    split: Split
    """`train`, `test`, or `example` (kept for few-shot prompts: neither trained on nor measured). Which of the trained
    tasks are for validation is decided when pairs are made."""
    prompt: str | tuple[Message, ...]
    """The zero-shot request: the user's words, or a conversation that ends with the user's turn."""
    schema: str | None = None
    """JSON Schema as JSON text; None when the task defines none."""
    targets: tuple[str, ...] = ()
    """The accepted values, each complete and as JSON text; empty when the task defines none (`null` is `"null"`)."""
    answer_schema: str | None = None
    """JSON Schema, as JSON text, that an accepted value fits, where there are too many to name. Seen by the verifier
    alone: no grammar is made of it."""
    few_shot: tuple[Message, ...] | None = None
    """A conversation that stands in for the few-shot prompt; None to have one built."""
    group: str | None = None
    """What tasks that belong together have in common, as their file names it, e.g. a function."""
    tools: str | None = None
    """Tools for the chat template, as JSON text."""
    columns: str | None = None
    """What else a verifier of the user's own is to be told, as JSON text of an object."""
    fences: FencePolicy = "forbid"
    """What a Markdown code fence around the whole answer means: a mistake, or packaging to take off."""

    @property
    def messages(self) -> tuple[Message, ...]:
        """The zero-shot conversation."""
        return ({"role": "user", "content": self.prompt},) if isinstance(self.prompt, str) else self.prompt

    @property
    def request(self) -> str:
        """The user's last words."""
        return self.messages[-1]["content"]

    @property
    def target(self) -> str | None:
        """The first accepted value, where there is one."""
        return self.targets[0] if self.targets else None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What the verifier says of one completion, tier by tier. A tier the task does not define is None."""

    parses: bool
    root_type: bool | None = None
    schema_valid: bool | None = None
    exact_match: bool | None = None
    reason: str | None = None
    """Why the first tier that failed did; None when none failed."""
    offset: int | None = None
    """Length in characters of the longest prefix that could still become valid JSON; None when it parses."""
    finish_reason: FinishReason = "stop"
    notes: tuple[str, ...] = ()
    """What was accepted but is worth knowing, e.g. `duplicate_key`, `lone_surrogate`, `unwrapped_fence`."""
    score: float | None = None
    """What a verifier of the user's own gave, on its own scale; None without one."""
    verified: bool | None = None
    """Whether that score is enough: then nothing else decides. None without such a verifier."""

    @property
    def tiers(self) -> tuple[bool, ...]:
        """The defined tiers in order; verdicts on one task compare by it, lexicographically."""
        if self.verified is not None:
            return (self.verified,)
        return tuple(passed for name in TIERS if (passed := getattr(self, name)) is not None)

    @property
    def passed(self) -> bool:
        """Whether every tier that the task defines holds, or the user's own verifier says so."""
        return all(self.tiers)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One completion that a policy gave for a task: what it was asked, what it said, and the verdict."""

    task_id: str
    index: int
    """Which of the task's samples it is: the policy's own from 0, each kind of proposal from a thousand of its own."""
    source: Source
    """How it was come by: under which prompt, under the schema's grammar, or by repairing another."""
    messages: tuple[Message, ...]
    """The very prompt it was drawn under."""
    completion: str
    finish_reason: FinishReason
    """`stop` when the policy ended it, `length` when the token limit cut it off."""
    prompt_tokens: int
    completion_tokens: int
    """Tokens drawn, the end-of-turn token included."""
    token_ids: tuple[int, ...] | None
    """The tokens drawn, the end token included; None where the policy does not tell."""
    logprob_nats: float | None
    """Sum of the drawn tokens' log-probabilities under the policy's own distribution; None where unknown."""
    seed: int
    decoding: dict[str, Any]
    """How tokens were drawn: `max_new_tokens` and what reshaped the distribution."""
    verdict: Verdict
    allowed_nats: float | None = None
    """Log of the product, over the tokens, of the probability that the policy gave to all that the grammar allowed
    there, in nats; None without a grammar. At temperature 1 the mean of these products over draws estimates, without
    bias, the probability that the policy answers with a text of the grammar."""
    prefix_tokens: int = 0
    """How many of the tokens were there before: of an answer that is gone on with from before its mistake."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """Two samples of one task of which the verifier prefers the first."""

    task_id: str
    chosen_index: int
    rejected_index: int
    margin: float
    """Score of the chosen minus score of the rejected, in (0, 1]."""


Record = TypeVar("Record", Task, Sample, Verdict, Pair)


def to_json(record: Any) -> dict[str, Any]:
    """A record as a JSON-ready dict."""
    return dataclasses.asdict(record)


def from_json(kind: type[Record], row: dict[str, Any]) -> Record:
    """The record that `to_json` wrote; raises TypeError on missing or unknown fields."""
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
    if kind is Sample and isinstance(values.get("verdict"), dict):
        values["verdict"] = from_json(Verdict, values["verdict"])
    return kind(**values)


def dump_lines(records: Iterable[Any]) -> str:
    """Records as JSON lines. Lone surrogates survive because the text is ASCII."""
    return "".join(json.dumps(to_json(record)) + "\n" for record in records)


def load_lines(kind: type[Record], path: Path) -> list[Record]:
    """Every record of a JSON-lines file; DataError names file and line of the first bad one."""
    return [record for _, record in iterate_lines(kind, path)]


def iterate_lines(kind: type[Record], path: Path) -> Iterator[tuple[int, Record]]:
    """(byte it begins at, record) for each line of a file that `dump_lines` wrote; raises as `load_lines`."""
    start = 0
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            yield start, _parse(kind, line, f"{path}:{number}")
            start += len(line)


def read_record(kind: type[Record], path: Path, start: int) -> Record:
    """The record whose line begins at that byte."""
    with path.open("rb") as stream:
        stream.seek(start)
        return _parse(kind, stream.readline(), f"{path}, byte {start}")


def _parse(kind: type[Record], line: bytes, where: str) -> Record:
    try:
        return from_json(kind, json.loads(line))
    except (ValueError, TypeError) as error:
        raise DataError(f"{where}: not a {kind.__name__} record ({error}); delete the file to make it again") from error
