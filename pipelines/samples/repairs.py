"""What is sound of a wrong answer: its tokens up to the one that holds the first mistake.

Reads a task, answers of it and the tokenizer; returns token ids that an answer can go on from. Pure but for the
tokenizer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from transformers import PreTrainedTokenizerBase

from pipelines.config import Config
from pipelines.records import Sample, Task
from pipelines.rewards import locate_fault

_LEAST_ROOM = 4
"""Tokens that must be left to finish the answer in."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Cut:
    """Where a wrong answer is gone on from."""

    prefix: tuple[int, ...]
    """Its tokens up to the first mistake."""
    mistakes: tuple[int, ...]
    """Tokens that answers went wrong with there: whatever follows them, the answer stays wrong."""


def best_cut(task: Task, answers: Iterable[Sample], tokenizer: PreTrainedTokenizerBase, config: Config) -> Cut | None:
    """The longest sound beginning of several wrong answers, by its characters; None where none has any.

    An answer that goes wrong at its first token has none, nor one whose tokens are not known or that leaves no room.
    """
    mistakes: dict[tuple[int, ...], set[int]] = {}
    sound: dict[tuple[int, ...], int] = {}
    for answer in answers:
        fault = locate_fault(answer.completion, task, assert_formats=config.tasks.assert_formats)
        if fault is None or answer.token_ids is None:
            continue
        tokens = sound_tokens(answer.token_ids, answer.completion, fault.offset, tokenizer)
        if 0 < len(tokens) < len(answer.token_ids) and len(tokens) + _LEAST_ROOM <= config.sampling.max_new_tokens:
            mistakes.setdefault(tokens, set()).add(answer.token_ids[len(tokens)])
            sound[tokens] = max(sound.get(tokens, 0), fault.offset)
    if not sound:
        return None
    best = max(sound, key=lambda tokens: sound[tokens])
    return Cut(prefix=best, mistakes=tuple(sorted(mistakes[best])))


def sound_tokens(
    tokens: tuple[int, ...], text: str, offset: int, tokenizer: PreTrainedTokenizerBase
) -> tuple[int, ...]:
    """The most tokens whose text lies before a character of the whole text."""
    for count in range(len(tokens), 0, -1):
        begun = str(tokenizer.decode(tokens[:count], skip_special_tokens=False, clean_up_tokenization_spaces=False))
        if len(begun) <= offset and text.startswith(begun):
            return tokens[:count]
    return ()
