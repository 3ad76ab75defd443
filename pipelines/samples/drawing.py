"""Samples of tasks: conversations built, seeds derived, completions verified and turned into records.

Reads tasks and a `SamplingConfig`; asks a policy; returns verified `Sample` records, a task's at a time. Seeds derive
from the run's seed, the task's id and the sample's index, so a sample does not depend on which other tasks there are,
on how many are drawn at once or on which process draws it, but for the rounding of matrix products of another width.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pipelines.config import SamplingConfig
from pipelines.records import Message, Sample, Source, Task
from pipelines.rewards import verify
from pipelines.samples.policies import Conversation, Policy
from pipelines.tasks import build_prompt, few_shot_examples


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """A task and the prompt it is asked under."""

    task: Task
    source: Source
    messages: tuple[Message, ...]
    indices: range
    """Of the samples that are wanted."""


def build_asks(tasks: Sequence[Task], examples: Sequence[Task], settings: SamplingConfig, seed: int) -> list[Ask]:
    """Every task under the prompt that the settings give it; `examples` holds the solved tasks to draw on."""
    solved = [task for task in examples if task.split == "example"]  # few, where tasks can be many
    asks = []
    for task in tasks:
        messages, source = build_prompt(task, solved, few_shot_examples(task, settings, seed))
        asks.append(Ask(task=task, source=source, messages=messages, indices=range(settings.samples_per_task)))
    return asks


def decoding_of(settings: SamplingConfig) -> dict[str, Any]:
    """How tokens are drawn, as a sample keeps it. JSON's own types, as it is read back."""
    return {"max_new_tokens": settings.max_new_tokens, "generation": settings.generation}


def draw(
    policy: Policy, asks: Sequence[Ask], settings: SamplingConfig, *, seed: int, assert_formats: bool = False
) -> Iterator[tuple[Ask, tuple[Sample, ...]]]:
    """(ask, its verified samples) for every ask that wants any, as each is finished."""
    asked = [ask for ask in asks if ask.indices]
    conversations = [seeded(ask.messages, seed, ask.task.id, ask.indices) for ask in asked]
    decoding = decoding_of(settings)
    for position, completions in policy.complete(conversations, settings):
        ask, seeds = asked[position], conversations[position].seeds
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
                    decoding=decoding,
                    verdict=verify(one.text, ask.task, one.finish_reason, assert_formats=assert_formats),
                )
                for index, own_seed, one in zip(ask.indices, seeds, completions, strict=True)
            ),
        )


def seeded(messages: Iterable[Message], run_seed: int, name: str, indices: Iterable[int]) -> Conversation:
    """A conversation with the seeds of its samples of those indices; `name` is the task's id, or what stands for it."""
    return Conversation(messages=tuple(messages), seeds=tuple(sample_seed(run_seed, name, index) for index in indices))


def sample_seed(run_seed: int, task_id: str, index: int) -> int:
    """63 bits that name one sample of one task of one run."""
    digest = hashlib.sha256(f"{run_seed}/{task_id}/{index}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
