"""Which models the packed forward pass computes exactly: by what they declare, then by trying.

Reads a model and requests; says which of them it computes, and in words why not the others. What a config declares
(state space layers, how far a layer sees) a short trial could miss; what it does not declare the trial finds: two short
prompts with a common beginning and a continuation, against the model's own attention.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from pipelines.engine.packed_attention import PackedPass, Row, packed_attention
from pipelines.engine.paged_cache import PagePool
from pipelines.engine.prefixes import Segment
from pipelines.engine.requests import Decoding, Request
from pipelines.models import packable_tokens

_TRIAL_TOKENS = 12
_TOLERANCE = {torch.float32: 1e-3}
_TOLERANCE_16_BIT = 0.05
"""Largest difference of logits, in units of their spread: rounding stays below, another attention goes far above."""


def divide_requests(
    model: PreTrainedModel, requests: Sequence[Request], decoding: Decoding
) -> tuple[list[int], list[int], str | None]:
    """(requests that the packed pass computes, those that it does not, why these)."""
    everything = list(range(len(requests)))
    if reason := unsupported_reason(model):
        return [], everything, reason
    window = packable_tokens(model)
    # The last token drawn is never read.
    lengths = [len(request.prompt) + decoding.max_new_tokens - 1 for request in requests]
    long = [index for index in everything if lengths[index] > window]
    reason = f"{len(long)} of {len(requests)} requests may outgrow its attention window of {window} tokens"
    return [index for index in everything if lengths[index] <= window], long, reason


def unsupported_reason(model: PreTrainedModel) -> str | None:
    """Why `sample` would not give this model's own completions; None when it does, up to `packable_tokens`."""
    if packable_tokens(model) < _TRIAL_TOKENS:
        return "its config tells of attention or positions that do not pack"
    # Ids spread over the vocabulary, the same each time.
    vocabulary = model.get_input_embeddings().num_embeddings
    ids = [(7919 * place + 13) % vocabulary for place in range(_TRIAL_TOKENS)]
    try:
        difference = _difference(model, ids)
    except (NotImplementedError, TypeError, AttributeError, ValueError, RuntimeError, IndexError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        return f"its attention cannot be replaced ({said})"
    if not difference <= _TOLERANCE.get(model.dtype, _TOLERANCE_16_BIT):
        return f"its attention computes something else (logits differ by {difference:.2g} of their spread)"
    return None


@torch.inference_mode()
def _difference(model: PreTrainedModel, ids: list[int]) -> float:
    own = model(input_ids=torch.tensor([ids], device=model.device), use_cache=False).logits[0, -2:].float()
    root = Segment(tuple(ids[:6]), 0, None)
    leaf = Segment(tuple(ids[6:-1]), 6, root)
    pool = PagePool(1)
    with packed_attention(model):
        last = PackedPass(pool, [], [root, leaf], (), model.device).run(model, [leaf])
        row = Row(leaf=leaf, token=ids[-1], length=1, pages=[pool.take()])
        after = PackedPass(pool, [row], [], (), model.device).run(model, [])
    return float((torch.cat([last, after]).float() - own).abs().max() / own.std())
