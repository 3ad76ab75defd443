"""What can be asked for completions: a model in this process, or one behind a server. One interface for both."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipelines.config import SamplingConfig
from pipelines.engine.decoder import sample
from pipelines.engine.requests import (
    Decoding,
    Drawn,
    Request,
    build_processors,
    build_stopping,
    is_greedy,
)
from pipelines.models import render_prompt
from pipelines.records import FinishReason, Message


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Conversation:
    """Messages that end with the user's turn, and a seed for each completion wanted."""

    messages: tuple[Message, ...]
    seeds: tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Completion:
    """One completion of a conversation."""

    text: str
    finish_reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    """The end-of-turn token included, if it came."""
    logprob_nats: float | None
    """Sum over the completion's tokens; None where the policy does not tell."""
    tokens: tuple[int, ...] | None = None
    """The completion's ids, the end token included; None where the policy does not tell."""


@runtime_checkable
class Policy(Protocol):
    """Something that completes conversations."""

    def complete(
        self, conversations: Sequence[Conversation], settings: SamplingConfig
    ) -> Iterator[tuple[int, list[Completion]]]:
        """(index of the conversation, its answers in the order of its seeds) as each is finished."""
        ...


class LocalPolicy:
    """A model in this process."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        """In evaluation mode, as `load_model` leaves it."""
        self._model, self._tokenizer = model, tokenizer

    def complete(
        self, conversations: Sequence[Conversation], settings: SamplingConfig
    ) -> Iterator[tuple[int, list[Completion]]]:
        """See Policy."""
        requests = [
            Request(prompt=tuple(render_prompt(self._tokenizer, list(conversation.messages))), seeds=conversation.seeds)
            for conversation in conversations
        ]
        decoding = Decoding(
            max_new_tokens=settings.max_new_tokens,
            end_tokens=end_tokens(self._model, self._tokenizer),
            pad_token=self._tokenizer.pad_token_id,
            batch_size=settings.batch_size,
            processors=build_processors(settings.generation),
            greedy=is_greedy(settings.generation),
            stopping=build_stopping(settings.generation, self._tokenizer),
        )
        for index, samples in sample(self._model, requests, decoding):
            yield index, [self._answer(drawn, len(requests[index].prompt), decoding) for drawn in samples]

    def _answer(self, drawn: Drawn, prompt_tokens: int, decoding: Decoding) -> Completion:
        """The completion as text, without the end token that closed it; other special tokens stay visible."""
        ids = drawn.tokens[:-1] if drawn.tokens[-1] in decoding.end_tokens else drawn.tokens
        return Completion(
            text=str(self._tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)),
            finish_reason="stop" if drawn.ended else "length",
            prompt_tokens=prompt_tokens,
            completion_tokens=len(drawn.tokens),
            logprob_nats=drawn.logprob_nats,
            tokens=tuple(drawn.tokens),
        )


def end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Ids that end a completion: the model's and the tokenizer's end tokens."""
    declared = model.generation_config.eos_token_id
    ids = declared if isinstance(declared, list) else [declared]
    return tuple(sorted({token for token in [*ids, tokenizer.eos_token_id] if token is not None}))
