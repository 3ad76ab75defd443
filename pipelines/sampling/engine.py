"""The in-process sampler: one prompt, many completions, without computing the prompt many times.

Takes token ids and a seed per completion; leaves token ids and log-probabilities. What all prompts of a batch share is
computed once, each prompt's own part once, and its cache is repeated for its completions; rows that have ended leave
the batch. A completion's draws come from a generator of its own, so it does not depend on which others share the batch
(up to the rounding of the matrix products). Knows nothing of tasks or text.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.generation import (
    LogitsProcessorList,
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from pipelines.errors import ConfigError

_GENERATION = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
_SHRINK_WHEN_ENDED = 1 / 8
"""Share of ended rows from which on leaving them out pays for copying the cache of the others."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One prompt and the seeds of the completions wanted for it."""

    prompt: tuple[int, ...]
    seeds: tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One completion: its tokens (the end token included, if it came) and what the policy thought of them."""

    tokens: tuple[int, ...]
    logprob_nats: float
    """Sum over the tokens of the log-probability under the policy's own distribution, before any truncation of it."""
    ended: bool
    """Whether an end token came before the limit."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Decoding:
    """How tokens are drawn, the same for all requests."""

    max_new_tokens: int
    end_tokens: tuple[int, ...]
    pad_token: int
    batch_size: int
    """Completions decoded side by side."""
    warpers: LogitsProcessorList
    """transformers' processors that reshape the distribution; empty for the policy's own."""


def build_warpers(generation: dict[str, Any]) -> LogitsProcessorList:
    """transformers' warpers for `temperature`, `top_k`, `top_p` and `min_p`; ConfigError for anything else."""
    unknown = sorted(set(generation) - set(_GENERATION))
    if unknown:
        raise ConfigError(f"generation.{unknown[0]} is not supported; use {', '.join(_GENERATION)}")
    values = {**_GENERATION, **generation}
    warpers = LogitsProcessorList()
    try:
        if values["temperature"] != 1.0:
            warpers.append(TemperatureLogitsWarper(float(values["temperature"])))
        if values["top_k"]:
            warpers.append(TopKLogitsWarper(values["top_k"]))
        if values["top_p"] < 1.0:
            warpers.append(TopPLogitsWarper(float(values["top_p"])))
        if values["min_p"]:
            warpers.append(MinPLogitsWarper(float(values["min_p"])))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"generation: {error}; mend the value") from error
    return warpers


@torch.inference_mode()
def sample(model: PreTrainedModel, requests: Sequence[Request], decoding: Decoding) -> Iterator[tuple[int, Sample]]:
    """(index of the request, sample) for every seed of every request, a batch at a time."""
    for batch in _batches(requests, decoding.batch_size):
        rows = [(index, seed) for index in batch for seed in requests[index].seeds]
        prompts = [requests[index].prompt for index in batch]
        counts = [len(requests[index].seeds) for index in batch]
        state = _prefill(model, prompts, counts, decoding.pad_token)
        samples = _decode(model, state, [seed for _, seed in rows], decoding)
        yield from zip((index for index, _ in rows), samples, strict=True)


def _batches(requests: Sequence[Request], batch_size: int) -> Iterator[list[int]]:
    """Indices of neighbouring requests whose completions fit a batch together; a larger one stands alone."""
    batch: list[int] = []
    size = 0
    for index, request in enumerate(requests):
        if batch and size + len(request.seeds) > batch_size:
            yield batch
            batch, size = [], 0
        batch.append(index)
        size += len(request.seeds)
    if batch:
        yield batch


@dataclasses.dataclass(slots=True)
class _State:
    """The rows being decoded."""

    cache: DynamicCache
    mask: Int[Tensor, "row token"]
    logits: Float[Tensor, "row vocabulary"]

    def keep(self, rows: Int[Tensor, " kept"]) -> None:
        self.cache.batch_select_indices(rows)
        self.mask = self.mask[rows]
        self.logits = self.logits[rows]


def _prefill(
    model: PreTrainedModel, prompts: Sequence[tuple[int, ...]], counts: Sequence[int], pad_token: int
) -> _State:
    """Caches and next-token logits of all rows; the prompts' common beginning is computed once."""
    device = model.device
    common = _common_prefix_length(prompts)
    cache = DynamicCache(config=model.config)
    if common:
        prefix = torch.tensor([prompts[0][:common]], device=device)
        model(input_ids=prefix, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache.batch_repeat_interleave(len(prompts))
    width = max(len(prompt) for prompt in prompts) - common
    ids = torch.full((len(prompts), width), pad_token, device=device)
    mask = torch.zeros((len(prompts), common + width), dtype=torch.long, device=device)
    mask[:, :common] = 1
    for row, prompt in enumerate(prompts):
        own = len(prompt) - common
        ids[row, width - own :] = torch.tensor(prompt[common:], device=device)
        mask[row, common + width - own :] = 1
    positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, common:]
    output = model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    state = _State(cache=cache, mask=mask, logits=output.logits[:, -1].float())
    state.keep(torch.arange(len(prompts), device=device).repeat_interleave(torch.tensor(counts, device=device)))
    return state


def _common_prefix_length(prompts: Sequence[tuple[int, ...]]) -> int:
    """How many tokens all prompts begin with, leaving each at least one of its own."""
    shortest = min(len(prompt) for prompt in prompts) - 1
    for length in range(shortest):
        if len({prompt[length] for prompt in prompts}) > 1:
            return length
    return shortest


def _decode(model: PreTrainedModel, state: _State, seeds: Sequence[int], decoding: Decoding) -> list[Sample]:
    device = model.device
    uniforms = torch.tensor(
        np.stack([np.random.Generator(np.random.Philox(key=seed)).random(decoding.max_new_tokens) for seed in seeds])
    ).to(device)
    end_tokens = torch.tensor(decoding.end_tokens, device=device)
    tokens = torch.full((len(seeds), decoding.max_new_tokens), decoding.pad_token, device=device)
    logprobs = torch.zeros(len(seeds), dtype=torch.float64, device=device)
    lengths = torch.zeros(len(seeds), dtype=torch.long, device=device)
    ended = torch.zeros(len(seeds), dtype=torch.bool, device=device)
    live = torch.arange(len(seeds), device=device)
    """The rows of `tokens` that the rows of `state` stand for; ended ones linger until shrinking pays."""
    for step in range(decoding.max_new_tokens):
        drawn = _draw(decoding.warpers(tokens[live, :step], state.logits), uniforms[live, step])
        going = ~ended[live]
        rows = live[going]
        tokens[rows, step] = drawn[going]
        own = state.logits.log_softmax(-1).gather(-1, drawn[:, None])[:, 0]
        logprobs[rows] += own[going].double()
        lengths[rows] += 1
        ended[rows] = torch.isin(drawn[going], end_tokens)
        going = ~ended[live]
        if step + 1 == decoding.max_new_tokens or not going.any():
            break
        if going.logical_not().float().mean() >= _SHRINK_WHEN_ENDED:
            state.keep(going.nonzero()[:, 0])
            live, drawn = live[going], drawn[going]
        _advance(model, state, drawn)
    return [
        Sample(tokens=tuple(tokens[row, : lengths[row]].tolist()), logprob_nats=logprob, ended=end)
        for row, (logprob, end) in enumerate(zip(logprobs.tolist(), ended.tolist(), strict=True))
    ]


def _advance(model: PreTrainedModel, state: _State, drawn: Int[Tensor, " row"]) -> None:
    """Feed the drawn tokens to the model; leaves the logits of the next ones."""
    state.mask = torch.cat([state.mask, torch.ones_like(state.mask[:, :1])], dim=1)
    output = model(
        input_ids=drawn[:, None],
        attention_mask=state.mask,
        position_ids=state.mask.sum(-1, keepdim=True) - 1,
        past_key_values=state.cache,
        use_cache=True,
    )
    state.logits = output.logits[:, -1].float()


def _draw(scores: Float[Tensor, "row vocabulary"], uniform: Float[Tensor, " row"]) -> Int[Tensor, " row"]:
    """One token a row by inverting the cumulative distribution at `uniform` in [0, 1).

    torch.multinomial draws an exponential per vocabulary entry, on one thread: a quarter of the time of a step here.
    The sum runs in float64, so that the tail of a large vocabulary is not rounded away.
    """
    cumulative = scores.softmax(-1).cumsum(-1, dtype=torch.float64)
    threshold = uniform[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, threshold, right=True)[:, 0].clamp(max=scores.shape[-1] - 1)
