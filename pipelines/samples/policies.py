"""What can be asked for completions: a model in this process, or one behind a server. One interface for both."""

from __future__ import annotations

import dataclasses
import functools
import math
import warnings
from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipelines.config import SamplingConfig
from pipelines.engine.decoder import sample
from pipelines.engine.grammar import Grammar, Vocabulary
from pipelines.engine.requests import (
    Decoding,
    Drawn,
    Request,
    build_processors,
    build_stopping,
    is_greedy,
)
from pipelines.errors import DataError
from pipelines.models import end_tokens, render_prompt
from pipelines.records import FinishReason, Message
from pipelines.samples.grammars import schema_grammar


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Conversation:
    """Messages that end with the user's turn, and a seed for each completion wanted."""

    messages: tuple[Message, ...]
    seeds: tuple[int, ...]
    schema: str | None = None
    """JSON Schema under whose grammar the completions are drawn; None for freely."""
    prefix: tuple[int, ...] = ()
    """Ids that every completion begins with."""
    forbidden: tuple[int, ...] = ()
    """Ids of which none may come behind the prefix."""


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
    allowed_nats: float | None = None
    """Sum over the tokens of the log probability, in nats, that the policy gave to all that the grammar allowed there;
    None without a grammar."""


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
            Request(
                prompt=tuple(render_prompt(self._tokenizer, list(conversation.messages))),
                seeds=conversation.seeds,
                prefix=conversation.prefix,
                forbidden=conversation.forbidden,
                grammar=self._grammar(conversation) if conversation.schema else None,
            )
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
        failures: list[str] = []
        for index, samples in sample(self._model, requests, decoding):
            failures += [drawn.failed for drawn in samples if drawn.failed]
            yield index, [self._answer(drawn, requests[index], decoding) for drawn in samples]
        if failures:
            warnings.warn(
                f"{len(failures)} completions break off where llguidance failed, and count as cut off ({failures[0]})",
                stacklevel=2,
            )

    def _grammar(self, conversation: Conversation) -> Grammar | None:
        """That of the schema; where the prefix is spaced otherwise, with free spacing; None where it cannot go on."""
        assert conversation.schema
        for any_spacing in (False, True):
            grammar = self._vocabulary.compile(schema_grammar(conversation.schema, any_spacing=any_spacing))
            if isinstance(grammar, str):
                raise DataError(f"no grammar can be made of the schema {conversation.schema[:80]} ({grammar})")
            if grammar.start(conversation.prefix):
                return grammar
        return None

    @functools.cached_property
    def _vocabulary(self) -> Vocabulary:
        width = self._model.get_output_embeddings().weight.shape[0]
        return Vocabulary(self._tokenizer, width, end_tokens(self._model, self._tokenizer))

    def _answer(self, drawn: Drawn, request: Request, decoding: Decoding) -> Completion:
        """The completion as text, without the end token that closed it; other special tokens stay visible."""
        tokens = (*request.prefix, *drawn.tokens)
        ids = tokens[:-1] if drawn.tokens and tokens[-1] in decoding.end_tokens else tokens
        return Completion(
            text=str(self._tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)),
            finish_reason="stop" if drawn.ended else "length",
            prompt_tokens=len(request.prompt),
            completion_tokens=len(tokens),
            logprob_nats=None if request.prefix else drawn.logprob_nats,
            tokens=tokens,
            allowed_nats=math.fsum(drawn.allowed_nats) if request.grammar else None,
        )
