"""From a task to the conversation a policy reads: the bare request, or worked examples before it.

Pure text; the chat template is the model's business.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from pipelines.records import Message, Prompting, Task
from pipelines.sections import SamplingConfig, TrainingConfig


def worked_examples_of(task: Task, settings: SamplingConfig | TrainingConfig, seed: int) -> int:
    """How many worked examples the task's prompt has: those of the settings for their share of the tasks, else none.

    Which tasks falls by a hash of seed and key: the same ones when sampled and when trained on, those of a smaller
    share among those of a larger.
    """
    digest = hashlib.sha256(f"{seed}/prompting/{task.key}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    return settings.worked_examples if place < settings.worked_examples_share else 0


def build_messages(task: Task, tasks: Sequence[Task], worked_examples: int) -> list[Message]:
    """The messages that ask for `task`, ending with the user's turn.

    With `worked_examples` > 0 they are the task's own `messages` if it has them; otherwise that many solved requests of
    its family from `tasks` (split `example`; fewer if there are fewer), the same ones for every task of the family, so
    that a sampler can share their computation.
    """
    request = {"role": "user", "content": task.prompt}
    if worked_examples == 0:
        return [request]
    if task.messages is not None:
        return list(task.messages)
    solved = [other for other in tasks if other.split == "example" and other.family == task.family]
    turns: list[Message] = []
    for example in solved[:worked_examples]:
        if example.target is not None:
            turns += [{"role": "user", "content": example.prompt}, {"role": "assistant", "content": example.target}]
    return [*turns, request]


def prompting_of(task: Task, messages: Sequence[Message]) -> Prompting:
    """`bare` where nothing but the request was built, whatever had been asked for; else `worked_examples`."""
    return "bare" if list(messages) == [{"role": "user", "content": task.prompt}] else "worked_examples"
