"""What a head does for the prediction: take its output away, and see what the next tokens' log-probabilities lose.

Attention is not explanation (Jain & Wallace 2019, arXiv 1902.10186; Wiegreffe & Pinter 2019, arXiv 1908.04626): a head
may look at a token and do nothing with what it sees. Before a head is called important, this is the causal check.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pipelines.attention.capture import CausalLM, base_model, forward, output_projection
from pipelines.errors import ConfigError, ModelError

Replacement = Literal["zero", "mean"]


def ablate_heads(
    model: CausalLM, ids: Sequence[int], layer: int, heads: Sequence[int], replacement: Replacement = "zero"
) -> Float[np.ndarray, "head next"]:
    """Change in the log-probability, in nats, of each token after the first when one head's output is replaced.

    A row for each of `heads`, alone. Negative where the head helps. `zero` takes the output away; `mean` puts its mean
    over the positions there, which keeps what the head adds whatever it looks at. The model is left as it was. Raises
    ConfigError for a layer or head that is not there, ModelError when the layer has no output projection that is known.
    """
    tokens = torch.tensor([list(ids)], device=base_model(model).device)
    whole = _log_probabilities(model, tokens)
    changes = []
    for head in heads:
        with _without(model, layer, head, replacement):
            changes.append((_log_probabilities(model, tokens) - whole).cpu().numpy())
    return np.stack(changes)


def _log_probabilities(model: CausalLM, tokens: Int[Tensor, "1 token"]) -> Float[Tensor, " next"]:
    logits = forward(model, tokens)[0, :-1].double().log_softmax(-1)
    return logits.gather(-1, tokens[0, 1:, None])[:, 0]


@contextlib.contextmanager
def _without(model: CausalLM, layer: int, head: int, replacement: Replacement) -> Iterator[None]:
    config = base_model(model).config.get_text_config()
    heads, layers = int(config.num_attention_heads), int(config.num_hidden_layers)
    if not 0 <= layer < layers:
        raise ConfigError(f"layer must be a number from 0 to {layers - 1}, got {layer}; choose among those")
    if not 0 <= head < heads:
        raise ConfigError(f"head must be a number from 0 to {heads - 1}, got {head}; choose among those")

    projection = output_projection(model, layer)
    if projection is None:
        raise ModelError(
            f"{type(base_model(model)).__name__} has no output projection of a known name; its heads cannot be ablated"
        )

    def replace(_: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        states = arguments[0].clone()
        size = states.shape[-1] // heads
        own = slice(head * size, (head + 1) * size)
        states[..., own] = states[..., own].mean(-2, keepdim=True) if replacement == "mean" else 0
        return (states, *arguments[1:])

    handle = projection.register_forward_pre_hook(replace)
    try:
        yield
    finally:
        handle.remove()
