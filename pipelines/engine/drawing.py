"""From logits to tokens: one draw a sample, by inverting the cumulative distribution at a number of the sample's own.

torch.multinomial draws an exponential per vocabulary entry, on one thread: measured, a quarter of a decoding step. One
uniform number and two short searches draw from the same distribution. Sums run in float64, so that the tail of a large
vocabulary is not rounded away. Where a grammar allows only some tokens, the others' logits are taken out before any
processor sees them: what is drawn from is the distribution renormalised at this token.
"""

from __future__ import annotations

import itertools

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers.generation import LogitsProcessorList

_BLOCK_ROWS = 16
"""Distributions worked on at once: bounds the memory of their intermediate values."""
_CHUNK = 256
"""Vocabulary entries that the first search takes together."""


def draw(
    logits: Float[Tensor, "row vocabulary"],
    owners: Int[Tensor, " sample"],
    uniforms: Float[Tensor, " sample"],
    processors: LogitsProcessorList,
    *,
    allowed: Bool[Tensor, "row vocabulary"] | None = None,
    greedy: bool = False,
) -> tuple[Int[Tensor, " sample"], Float[Tensor, " sample"], Float[Tensor, " row"]]:
    """(token, its log-probability in nats under the logits alone) of each sample, and each row's log of what the logits
    give to the allowed tokens together.

    `owners` are the samples' rows, in ascending order; `uniforms` are in [0, 1).
    """
    tokens, logprobs, masses = [], [], []
    bounds = torch.arange(0, len(logits) + _BLOCK_ROWS, _BLOCK_ROWS, device=owners.device)
    places = torch.searchsorted(owners, bounds).tolist()
    for block, (first, last) in enumerate(itertools.pairwise(places)):
        start = block * _BLOCK_ROWS
        raw = logits[start : start + _BLOCK_ROWS].float()
        total = raw.logsumexp(-1)
        scores, mass = raw, torch.zeros_like(total)
        if allowed is not None:
            scores = raw.masked_fill(~allowed[start : start + _BLOCK_ROWS].to(raw.device), -torch.inf)
            mass = scores.logsumexp(-1) - total
        rows = owners[first:last] - start
        if processors:
            scores = processors(rows.new_zeros((len(raw), 0)), scores)
        drawn = scores.argmax(-1)[rows] if greedy else _invert(scores, rows, uniforms[first:last])
        tokens.append(drawn)
        logprobs.append(raw[rows, drawn] - total[rows])
        masses.append(mass)
    return torch.cat(tokens), torch.cat(logprobs), torch.cat(masses)


def _invert(
    scores: Float[Tensor, "row vocabulary"], rows: Int[Tensor, " sample"], uniforms: Float[Tensor, " sample"]
) -> Int[Tensor, " sample"]:
    """The first token at which the cumulative probability exceeds the sample's number; never one of probability 0."""
    vocabulary = scores.shape[-1]
    weights = scores.new_zeros((len(scores), -(-vocabulary // _CHUNK) * _CHUNK))
    torch.exp(scores - scores.max(-1, keepdim=True).values, out=weights[:, :vocabulary])
    chunks = weights.view(len(scores), -1, _CHUNK)
    cumulative = chunks.sum(-1, dtype=torch.float64).cumsum(-1)[rows]
    wanted = uniforms.double()[:, None] * cumulative[:, -1:]
    chunk = _search(cumulative, wanted)
    before = cumulative.gather(-1, (chunk - 1).clamp(min=0)[:, None]).masked_fill_((chunk == 0)[:, None], 0.0)
    within = _search(chunks[rows, chunk].double().cumsum(-1), wanted - before)
    return chunk * _CHUNK + within


def _search(cumulative: Float[Tensor, "sample entry"], wanted: Float[Tensor, "sample 1"]) -> Int[Tensor, " sample"]:
    """The first entry above `wanted`, or the last that adds anything where rounding has put `wanted` past the end."""
    found = torch.searchsorted(cumulative, wanted, right=True)[:, 0]
    last = (cumulative < cumulative[:, -1:]).sum(-1)
    return torch.minimum(found, last)
