"""Completions for tasks: conversations built, seeds derived, answers turned into records.

Takes a policy, tasks and a `SamplingConfig`; leaves `Completion` records, a task's at a time. Seeds derive from the
run's seed, the task's id and the sample's index, so a sample does not depend on which other tasks there are, on how
many are drawn at once or on which process draws it, but for the rounding of matrix products of another width.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

from pipelines.records import Completion, Message, Task
from pipelines.sampling.policies import Conversation, Policy
from pipelines.sections import SamplingConfig
from pipelines.tasks import build_messages, worked_examples_of
from pipelines.tasks.prompting import prompting_of


def sample_tasks(
    policy: Policy, tasks: Sequence[Task], examples: Sequence[Task], settings: SamplingConfig, seed: int
) -> list[Completion]:
    """`settings.samples_per_task` completions of every task; `examples` holds the worked examples to draw on."""
    wanted = {task.id: range(settings.samples_per_task) for task in tasks}
    drawn = dict(complete_tasks(policy, tasks, examples, settings, seed=seed, wanted=wanted))
    return [completion for task in tasks for completion in drawn[task.id]]


def complete_tasks(
    policy: Policy,
    tasks: Sequence[Task],
    examples: Sequence[Task],
    settings: SamplingConfig,
    *,
    seed: int,
    wanted: Mapping[str, range],
) -> Iterator[tuple[str, list[Completion]]]:
    """(task id, its completions of the wanted indices) for every task that wants any, as each is finished."""
    asked = [task for task in tasks if wanted[task.id]]
    conversations = [
        seeded(build_messages(task, examples, worked_examples_of(task, settings, seed)), seed, task.id, wanted[task.id])
        for task in asked
    ]
    for position, answers in policy.complete(conversations, settings):
        task, seeds = asked[position], conversations[position].seeds
        yield (
            task.id,
            [
                Completion(
                    task_id=task.id,
                    index=index,
                    prompting=prompting_of(task, conversations[position].messages),
                    text=answer.text,
                    finish_reason=answer.finish_reason,
                    prompt_tokens=answer.prompt_tokens,
                    completion_tokens=answer.completion_tokens,
                    logprob_nats=answer.logprob_nats,
                    seed=own_seed,
                )
                for index, own_seed, answer in zip(wanted[task.id], seeds, answers, strict=True)
            ],
        )


def seeded(messages: Iterable[Message], run_seed: int, name: str, indices: Iterable[int]) -> Conversation:
    """A conversation with the seeds of its samples of those indices; `name` is the task's id, or what stands for it."""
    return Conversation(messages=tuple(messages), seeds=tuple(sample_seed(run_seed, name, index) for index in indices))


def sample_seed(run_seed: int, task_id: str, index: int) -> int:
    """63 bits that name one sample of one task of one run."""
    digest = hashlib.sha256(f"{run_seed}/{task_id}/{index}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
