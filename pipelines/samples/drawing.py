"""Samples of tasks: conversations built, seeds derived, completions verified and turned into records.

Reads tasks and a `SamplingConfig`; asks a policy; returns verified `Sample` records, a task's at a time. Seeds derive
from the run's seed, the task's id and the sample's index, so a sample does not depend on which other tasks there are,
on how many are drawn at once or on which process draws it, but for the rounding of matrix products of another width.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from pipelines.config import SamplingConfig
from pipelines.records import Message, Sample, Source, Task
from pipelines.rewards.verifiers import Verifier, verify_json
from pipelines.samples.policies import Conversation, Policy
from pipelines.samples.store import Held
from pipelines.tasks import build_prompt, few_shot_examples, solved_examples


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """A task and the prompt it is asked under."""

    task: Task
    source: Source
    messages: tuple[Message, ...]
    indices: range
    """Of the samples that are wanted."""
    schema: str | None = None
    """JSON Schema under whose grammar they are drawn; None for freely."""
    prefix: tuple[int, ...] = ()
    """Ids that all of them begin with."""
    forbidden: tuple[int, ...] = ()
    """Ids of which none may come behind the prefix."""

    def decoding(self, settings: SamplingConfig) -> dict[str, Any]:
        """How tokens are drawn, as a sample keeps it. JSON's own types, as it is read back."""
        under = {"grammar": "json_schema"} if self.schema else {}
        return {"max_new_tokens": settings.max_new_tokens, "generation": settings.generation, **under}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Phase:
    """Drawing that is done before the next begins."""

    settings: SamplingConfig
    asks: Callable[[Held], Iterable[Ask]]
    """What is asked for, given what is stored when the phase begins; the same for the same, and gone through several
    times. What it would ask of an empty store is all that it ever could: samples of anything else are set aside."""


def build_asks(tasks: Iterable[Task], examples: Iterable[Task], settings: SamplingConfig, seed: int) -> Iterator[Ask]:
    """Every task under the prompt that the settings give it, one by one; `examples` holds the solved tasks to show."""
    solved = solved_examples(examples, settings.few_shot)  # few, where tasks can be many
    for task in tasks:
        messages, source = build_prompt(task, solved, few_shot_examples(task, settings, seed))
        yield Ask(task=task, source=source, messages=messages, indices=range(settings.samples_per_task))


def draw(
    policy: Policy, asks: Iterable[Ask], settings: SamplingConfig, *, seed: int, verifier: Verifier = verify_json
) -> Iterator[tuple[Ask, tuple[Sample, ...]]]:
    """(ask, its verified samples) for every ask that wants any, as each is finished. All asks are held till the end."""
    asked = [ask for ask in asks if ask.indices]
    conversations = [
        dataclasses.replace(
            seeded(ask.messages, seed, ask.task.id, ask.indices),
            schema=ask.schema,
            prefix=ask.prefix,
            forbidden=ask.forbidden,
        )
        for ask in asked
    ]
    for position, completions in policy.complete(conversations, settings):
        ask, seeds = asked[position], conversations[position].seeds
        verdicts = verifier(ask.task, ask.messages, [(one.text, one.finish_reason) for one in completions])
        yield (
            ask,
            tuple(
                Sample(
                    task_id=ask.task.id,
                    index=index,
                    source=ask.source,
                    messages=ask.messages,
                    completion=one.text,
                    finish_reason=one.finish_reason,
                    prompt_tokens=one.prompt_tokens,
                    completion_tokens=one.completion_tokens,
                    token_ids=one.tokens,
                    logprob_nats=one.logprob_nats,
                    seed=own_seed,
                    decoding=ask.decoding(settings),
                    verdict=verdict,
                    allowed_nats=one.allowed_nats,
                    prefix_tokens=len(ask.prefix),
                )
                for index, own_seed, one, verdict in zip(ask.indices, seeds, completions, verdicts, strict=True)
            ),
        )


def seeded(messages: Iterable[Message], run_seed: int, name: str, indices: Iterable[int]) -> Conversation:
    """A conversation with the seeds of its samples of those indices; `name` is the task's id, or what stands for it."""
    return Conversation(messages=tuple(messages), seeds=tuple(sample_seed(run_seed, name, index) for index in indices))


def sample_seed(run_seed: int, task_id: str, index: int) -> int:
    """63 bits that name one sample of one task of one run."""
    digest = hashlib.sha256(f"{run_seed}/{task_id}/{index}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
