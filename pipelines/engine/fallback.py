"""transformers' own `generate`, for models whose attention the packed forward pass does not compute.

Same requests, same samples, one request after the other. The draws are torch's, seeded by the request's first seed:
they depend on how many samples a request has, which is stated here because it cannot be changed from outside.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel
from transformers.generation import StoppingCriteria, StoppingCriteriaList

from pipelines.engine.requests import Decoding, Drawn, Request


def generate_samples(
    model: PreTrainedModel, requests: Sequence[Request], decoding: Decoding
) -> Iterator[tuple[int, list[Drawn]]]:
    """(index of the request, its samples), in order."""
    config = GenerationConfig(
        do_sample=not decoding.greedy,
        top_k=0 if not decoding.greedy else None,  # 50 unless told otherwise
        max_new_tokens=decoding.max_new_tokens,
        eos_token_id=list(decoding.end_tokens),
        pad_token_id=decoding.pad_token,
        return_dict_in_generate=True,
        output_logits=True,
    )
    for index, request in enumerate(requests):
        made: list[Drawn] = []
        for first in range(0, len(request.seeds), decoding.batch_size):
            part = dataclasses.replace(request, seeds=request.seeds[first : first + decoding.batch_size])
            made += _generate(model, part, decoding, config)
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


@torch.inference_mode()
def _generate(model: PreTrainedModel, request: Request, decoding: Decoding, config: GenerationConfig) -> list[Drawn]:
    ids = torch.tensor([request.prompt] * len(request.seeds), device=model.device)
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), bare_generation_config(model):
        torch.manual_seed(request.seeds[0])
        output = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            generation_config=config,
            logits_processor=decoding.processors,
            stopping_criteria=StoppingCriteriaList([_OfNewTokens(one) for one in decoding.stopping]),
        )
    new = output.sequences[:, -len(output.logits) :]  # an encoder-decoder's sequences do not hold the prompt
    logprobs = torch.stack([logits.float().log_softmax(-1) for logits in output.logits], dim=1)
    own = logprobs.gather(-1, new[..., None])[..., 0].tolist()
    return [_cut_at_end(row, values, decoding) for row, values in zip(new.tolist(), own, strict=True)]


def _cut_at_end(tokens: list[int], logprobs: list[float], decoding: Decoding) -> Drawn:
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
    return Drawn(tokens=tuple(tokens[:end]), logprobs_nats=tuple(logprobs[:end]), ended=length is not None)
