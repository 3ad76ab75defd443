"""transformers' own `generate`, for models whose attention the packed forward pass does not compute.

Same requests, same samples, one request after the other. The draws are torch's, seeded by the request's first seed:
they depend on how many samples a request has, which is stated here because it cannot be changed from outside.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from llguidance import LLMatcher
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel
from transformers.generation import LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from pipelines.engine.grammar import allowed_next, forbid
from pipelines.engine.requests import Decoding, Drawn, Request


def generate_samples(
    model: PreTrainedModel, requests: Sequence[Request], decoding: Decoding
) -> Iterator[tuple[int, list[Drawn]]]:
    """(index of the request, its samples), in order."""
    config = GenerationConfig(
        do_sample=not decoding.greedy,
        top_k=0 if not decoding.greedy else None,  # 50 unless told otherwise
        eos_token_id=list(decoding.end_tokens),
        pad_token_id=decoding.pad_token,
        return_dict_in_generate=True,
        output_logits=True,
    )
    for index, request in enumerate(requests):
        made: list[Drawn] = []
        for first in range(0, len(request.seeds), decoding.batch_size):
            part = dataclasses.replace(request, seeds=request.seeds[first : first + decoding.batch_size])
            made += _generate(model, part, decoding, copy.copy(config))
        yield index, made


@contextlib.contextmanager
def bare_generation_config(model: PreTrainedModel) -> Iterator[None]:
    """Inside the block `generate` does what it is told and no more: it fills gaps from the model's own config."""
    own = model.generation_config
    starts = {name: getattr(own, name) for name in ("bos_token_id", "decoder_start_token_id")}
    model.generation_config = GenerationConfig(**starts)
    try:
        yield
    finally:
        model.generation_config = own


class _OfNewTokens(StoppingCriteria):
    """A criterion that sees what was generated, not the prompt: a stop string is to be in the completion."""

    def __init__(self, criterion: StoppingCriteria) -> None:
        self._criterion = criterion
        self._start: int | None = None

    def __call__(self, input_ids: Tensor, scores: Any, **options: Any) -> Tensor:
        if self._start is None:
            self._start = input_ids.shape[1] - 1  # first asked when one token has come
        stopped: Tensor = self._criterion(input_ids[:, self._start :], scores, **options)
        return stopped


class _Allowed(LogitsProcessor):
    """Takes out what a grammar does not allow, a matcher for every row, and what may not come first."""

    def __init__(
        self, matchers: Sequence[LLMatcher | None], forbidden: Sequence[int], end_tokens: Sequence[int]
    ) -> None:
        self._matchers, self._forbidden, self._end_tokens = matchers, forbidden, end_tokens
        self.masses: list[Tensor] = []
        self.over: list[tuple[int, str] | None] = [None] * len(matchers)
        """Of a row whose matcher failed: behind how many tokens, and why."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if self.masses:
            for matcher, token in zip(self._matchers, input_ids[:, -1].tolist(), strict=True):
                if matcher is not None and token not in self._end_tokens:
                    matcher.consume_token(token)
        allowed = allowed_next(self._matchers, scores.shape[-1]).to(scores.device)
        if not self.masses:
            forbid(allowed, self._forbidden)
        for row, matcher in enumerate(self._matchers):
            if matcher is not None and matcher.is_error() and self.over[row] is None:
                self.over[row] = (len(self.masses), matcher.get_error())
        masked = scores.float().masked_fill(~allowed, -torch.inf)
        self.masses.append(masked.logsumexp(-1) - scores.float().logsumexp(-1))
        return masked


@torch.inference_mode()
def _generate(model: PreTrainedModel, request: Request, decoding: Decoding, config: GenerationConfig) -> list[Drawn]:
    config.max_new_tokens = decoding.max_new_tokens - len(request.prefix)
    ids = torch.tensor([[*request.prompt, *request.prefix]] * len(request.seeds), device=model.device)
    devices = [model.device] if model.device.type == "cuda" else []
    allowed = None
    if request.grammar or request.forbidden:
        starts = [request.grammar.start(request.prefix) if request.grammar else None for _ in request.seeds]
        allowed = _Allowed(starts, request.forbidden, decoding.end_tokens)
    with torch.random.fork_rng(devices=devices), bare_generation_config(model):
        torch.manual_seed(request.seeds[0])
        output = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            generation_config=config,
            logits_processor=LogitsProcessorList([*([allowed] if allowed else []), *decoding.processors]),
            stopping_criteria=StoppingCriteriaList([_OfNewTokens(one) for one in decoding.stopping]),
        )
    new = output.sequences[:, -len(output.logits) :]  # an encoder-decoder's sequences do not hold the prompt
    logprobs = torch.stack([logits.float().log_softmax(-1) for logits in output.logits], dim=1)
    own = logprobs.gather(-1, new[..., None])[..., 0]
    masses = torch.stack(allowed.masses, dim=1) if allowed else torch.zeros_like(own)
    made = [
        _cut_at_end(row, values, mass, decoding)
        for row, values, mass in zip(new.tolist(), own.tolist(), masses.tolist(), strict=True)
    ]
    return [_unbroken(one, over) for one, over in zip(made, allowed.over, strict=True)] if allowed else made


def _unbroken(drawn: Drawn, over: tuple[int, str] | None) -> Drawn:
    """What was drawn before the matcher failed, if it did before the end: behind that stands padding."""
    if over is None or over[0] >= len(drawn.tokens):
        return drawn
    kept = {name: getattr(drawn, name)[: over[0]] for name in ("tokens", "logprobs_nats", "allowed_nats")}
    return dataclasses.replace(drawn, **kept, ended=False, failed=over[1])


def _cut_at_end(tokens: list[int], logprobs: list[float], masses: list[float], decoding: Decoding) -> Drawn:
    """The sample without the padding that follows where it stopped."""
    length = next((place for place, token in enumerate(tokens, 1) if token in decoding.end_tokens), None)
    if length is None and decoding.stopping:
        length = next(
            (
                place
                for place in range(1, len(tokens) + 1)
                if bool(decoding.stopping(torch.tensor([tokens[:place]]), None)[0])
            ),
            None,
        )
    end = len(tokens) if length is None else length
    return Drawn(
        tokens=tuple(tokens[:end]),
        logprobs_nats=tuple(logprobs[:end]),
        allowed_nats=tuple(masses[:end]),
        ended=length is not None,
    )
