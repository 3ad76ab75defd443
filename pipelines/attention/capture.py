"""One forward pass, every attention map: hooks take each layer's weights as they are computed and free them.

Takes any Hugging Face causal LM whose attention can run eagerly; leaves `AttentionMaps` and the model as it was found
(attention implementation, training mode, hooks), also after an error. Other implementations return no weights at all,
silently, so the pass runs eagerly and its logits are compared with the model's own implementation.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipelines.attention.maps import AttentionMaps, check
from pipelines.attention.symbols import Prefix, prefix_ids, symbol_ids
from pipelines.errors import ModelError

LOGIT_TOLERANCE = 1e-4


def probe(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    symbols: Sequence[str],
    *,
    prefix: Prefix = "none",
    info: dict[str, Any] | None = None,
) -> AttentionMaps:
    """The attention of every layer and head over `symbols`, each exactly one token, after an optional prefix.

    Raises DataError when a symbol is not one token or a map breaks its checks, ModelError when the model's attention
    cannot be read.
    """
    before = prefix_ids(tokenizer, prefix)
    ids = [*before, *symbol_ids(tokenizer, symbols)]
    batch = torch.tensor([ids], device=model.device)
    own_logits = _forward(model, batch)
    layers: list[Float[np.ndarray, "head query key"]] = []
    with _eager(model), _hooks(model, layers):
        logits = _forward(model, batch)
    if len(layers) != model.config.get_text_config().num_hidden_layers:
        raise ModelError(
            f"{type(model).__name__} gave {len(layers)} attention maps for "
            f"{model.config.get_text_config().num_hidden_layers} layers; its attention cannot be read layer by layer"
        )
    weights = np.stack(layers)
    visible = _visible(model, len(ids))
    difference = float((logits - own_logits).abs().max())
    if model.dtype == torch.float32 and difference > LOGIT_TOLERANCE:
        raise ModelError(
            f"eager attention changes the logits by {difference:.2e} (allowed {LOGIT_TOLERANCE}); the maps would not "
            "be those of the model as it runs"
        )
    return AttentionMaps(
        weights=weights,
        visible=visible,
        tokens=tuple(tokenizer.decode([token]) for token in ids),
        ids=tuple(ids),
        prefix_tokens=len(before),
        info={**(info or {}), "prefix": prefix, "dtype": str(model.dtype).removeprefix("torch.")},
        checks={**check(weights, visible), "eager_logit_difference": difference},
    )


@torch.inference_mode()
def _forward(model: PreTrainedModel, ids: Int[Tensor, "1 token"]) -> Float[Tensor, "1 token vocabulary"]:
    training = model.training
    model.eval()
    try:
        # The mask is explicit: without one, jumps in the positions would be read as packed sequences.
        logits: Tensor = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits
        return logits.float()
    finally:
        model.train(training)


@contextlib.contextmanager
def _eager(model: PreTrainedModel) -> Iterator[None]:
    """Eager attention inside the block; whatever there was after it."""
    found = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        if model.config._attn_implementation != "eager":
            raise ModelError(f"{type(model).__name__} cannot run attention eagerly; its weights cannot be read")
        yield
    finally:
        model.set_attn_implementation(found)


@contextlib.contextmanager
def _hooks(model: PreTrainedModel, layers: list[Float[np.ndarray, "head query key"]]) -> Iterator[None]:
    """Hooks that move each layer's weights into `layers` and keep the model from holding on to them."""

    def take(_module: nn.Module, _arguments: tuple[Any, ...], output: Any) -> Any:
        weights = output[1]
        if weights is None or weights.ndim != 4:
            raise ModelError("an attention layer returned no weights; model.set_attn_implementation('eager') must hold")
        layers.append(weights[0].float().cpu().numpy())
        return (output[0], None, *output[2:])

    handles = [module.register_forward_hook(take) for module in _attention_modules(model)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _attention_modules(model: PreTrainedModel) -> list[nn.Module]:
    """The modules whose second output transformers itself records as the attention weights, in layer order."""
    for part in model.modules():
        recorded = getattr(part, "_can_record_outputs", None) or {}
        if "attentions" in recorded:
            entry = recorded["attentions"]
            kinds: tuple[Any, ...] = tuple(
                getattr(item, "target_class", item) for item in (entry if isinstance(entry, list) else [entry])
            )
            return [module for module in part.modules() if isinstance(module, kinds)]
    raise ModelError(f"{type(model).__name__} does not say which modules compute attention; it cannot be probed")


def _visible(model: PreTrainedModel, tokens: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """What each layer's mask lets a query see: everything up to itself, within the layer's window if it has one."""
    config = model.config.get_text_config()
    distance = np.arange(tokens)[:, None] - np.arange(tokens)[None, :]
    kinds = getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers
    causal = distance >= 0
    return np.stack(
        [causal & (distance < config.sliding_window) if kind == "sliding_attention" else causal for kind in kinds]
    )
