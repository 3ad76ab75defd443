"""From a task to the conversation a policy reads: zero-shot, the request alone, or few-shot, solved requests before it.

Pure text; the chat template is the model's business.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from pipelines.config import SamplingConfig, TrainingConfig
from pipelines.records import Message, Source, Task


def few_shot_examples(task: Task, settings: SamplingConfig | TrainingConfig, seed: int) -> int:
    """How many examples the task's prompt has: those of the settings for their share of the tasks, else none.

    Which tasks falls by a hash of seed and key: the same ones when sampled and when trained on, those of a smaller
    share among those of a larger.
    """
    digest = hashlib.sha256(f"{seed}/prompting/{task.key}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    return settings.few_shot if place < settings.few_shot_share else 0


def solved_examples(tasks: Iterable[Task], count: int) -> list[Task]:
    """Of the tasks those that prompts with so many examples show: the first of each group in split `example`."""
    shown: dict[tuple[str, str | None], list[Task]] = {}
    for task in tasks:
        if task.split == "example" and len(own := shown.setdefault((task.family, task.group), [])) < count:
            own.append(task)
    return [task for own in shown.values() for task in own]


def build_prompt(task: Task, tasks: Iterable[Task], examples: int) -> tuple[tuple[Message, ...], Source]:
    """The messages that ask for `task`, ending with the user's turn, and what they are.

    With `examples` > 0 they are the task's own `few_shot` if it has them; otherwise that many solved requests of its
    family from `tasks` (split `example`; fewer if there are fewer), first those of its group, the same ones for every
    task of the group, so that a sampler can share their computation. Where there are none the prompt is zero-shot, and
    says so.
    """
    if examples == 0:
        return task.messages, "zero_shot"
    if task.few_shot is not None:
        return task.few_shot, "few_shot"
    turns: list[Message] = []
    solved = solved_examples((other for other in tasks if other.family == task.family), examples)
    solved.sort(key=lambda other: other.group != task.group)
    for example in solved[:examples]:
        if example.target is not None:
            turns += [{"role": "user", "content": example.request}, {"role": "assistant", "content": example.target}]
    if not turns:
        return task.messages, "zero_shot"
    # What opens the task's own conversation, such as a system message, comes first.
    return (*task.messages[:-1], *turns, task.messages[-1]), "few_shot"
