"""How far a policy has moved from its reference: the KL divergence of next-token distributions, per token.

Reads sequences that the policy drew itself and two ways to get next-token distributions; returns nats. The whole
distributions are compared, not the drawn tokens alone, so the mean over positions has no noise of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

_ROWS_AT_A_TIME = 4


@dataclasses.dataclass(frozen=True, slots=True)
class Continuation:
    """Token ids of a prompt and of what the policy went on with."""

    prompt: tuple[int, ...]
    completion: tuple[int, ...]


NextTokens = Callable[[Sequence[Continuation]], Float[Tensor, "token vocabulary"]]
"""Log-probabilities of the next token at each position that predicts a completion token."""


@torch.inference_mode()
def next_tokens(model: PreTrainedModel, continuations: Sequence[Continuation]) -> Float[Tensor, "token vocabulary"]:
    """`NextTokens` of a model: one forward pass over the continuations, padded on the right."""
    rows = [[*one.prompt, *one.completion[:-1]] for one in continuations]
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows], device=model.device)
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=model.device)
    predicting = torch.zeros(ids.shape, dtype=torch.bool, device=model.device)
    for index, one in enumerate(continuations):
        predicting[index, len(one.prompt) - 1 : len(rows[index])] = True
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    chosen: Tensor = logits[predicting].float()
    return chosen.log_softmax(-1)


def mean_kl_nats(continuations: Sequence[Continuation], policy: NextTokens, reference: NextTokens) -> float:
    """KL(policy ‖ reference) in nats, mean over the completions' tokens; 0 when the two are the same."""
    total, tokens = 0.0, 0
    # Side by side with its like: a zero-shot prompt among longer ones would be computed at their length.
    by_length = sorted(continuations, key=lambda one: len(one.prompt) + len(one.completion))
    for start in range(0, len(by_length), _ROWS_AT_A_TIME):
        some = by_length[start : start + _ROWS_AT_A_TIME]
        mine, its = policy(some), reference(some)
        total += float((mine.exp() * (mine - its)).sum(dtype=torch.float64))
        tokens += len(mine)
    return total / max(1, tokens)
