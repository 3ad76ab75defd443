"""One forward pass, every layer's attention as it is computed, then freed.

Runs any Hugging Face causal LM whose attention goes through transformers' `AttentionInterface`; hands each layer's
weights, mask, queries and keys to a callback and keeps none of them, so memory grows by one layer, not by all. The
model is left as it was found (attention implementation, training mode), also after an error.

transformers' fast implementations return no weights, silently, and its recording of eager ones holds every layer's at
once. So a function of our own stands in for the model's attention during the pass. It calls the eager attention of the
model's own modelling file, with whatever that file does beyond softmax (soft caps, learned sinks), and computes none
itself.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from peft import PeftModel
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import eager_mask

from pipelines.errors import ModelError

CausalLM: TypeAlias = PreTrainedModel | PeftModel
_NAME = "attend_and_prefer_capture"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LayerAttention:
    """What one layer's attention computed. The tensors are the model's own: copy what is to outlive the callback."""

    layer: int
    weights: Float[Tensor, "batch head query key"]
    visible: Bool[Tensor, "batch query key"]
    """What the mask that this layer was given lets each query see."""
    queries: Float[Tensor, "batch head query size"]
    """After the position embedding, if the model rotates."""
    keys: Float[Tensor, "batch key_value_head key size"]
    values: Float[Tensor, "batch key_value_head key value_size"]
    scaling: float
    softcap: float | None
    sink_logits: Float[Tensor, "#batch head #query"] | None
    """What a learned sink puts beside every row's logits, so that rows sum to less than 1; None without one."""

    def logits(self) -> Float[Tensor, "batch head query key"]:
        """Scaled products of queries and keys, soft-capped where the model does, before the mask."""
        shared_by = self.queries.shape[1] // self.keys.shape[1]
        products = self.queries @ self.keys.repeat_interleave(shared_by, dim=1).transpose(-1, -2) * self.scaling
        return products if self.softcap is None else self.softcap * torch.tanh(products / self.softcap)

    def sink_share(self) -> Float[Tensor, "batch head query"] | None:
        """The sink's part of each row, from its parameter and the products, not from what the rows lack; float64.

        Head by head, because a whole layer of products would be as large as its maps.
        """
        if self.sink_logits is None:
            return None
        sink = self.sink_logits.double().expand(self.weights.shape[:3])
        shared_by = self.queries.shape[1] // self.keys.shape[1]
        totals = []
        for head in range(self.queries.shape[1]):
            products = self.queries[:, head] @ self.keys[:, head // shared_by].transpose(-1, -2) * self.scaling
            capped = products if self.softcap is None else self.softcap * torch.tanh(products / self.softcap)
            totals.append(capped.double().masked_fill(~self.visible, float("-inf")).logsumexp(-1))
        return torch.sigmoid(sink - torch.stack(totals, dim=1))


Receive = Callable[[LayerAttention], None]


@dataclasses.dataclass(frozen=True, slots=True)
class _Capture:
    receive: Receive
    masked: bool


_CAPTURE: ContextVar[_Capture | None] = ContextVar("attention_capture", default=None)


@contextlib.contextmanager
def captured(model: CausalLM, receive: Receive, *, masked: bool = True) -> Iterator[None]:
    """Hand every layer's attention to `receive` inside the block.

    With `masked=False` no layer gets a mask: every token sees every other, which the model was never trained for.
    Raises ModelError when the model's attention cannot be replaced.
    """
    # Without a mask function of the same name, transformers would build no mask at all, and say nothing.
    AttentionInterface.register(_NAME, _attention)
    AttentionMaskInterface.register(_NAME, eager_mask)
    base = base_model(model)
    found = _implementations(base)
    token = _CAPTURE.set(_Capture(receive, masked))
    try:
        with _quiet_refusal():
            base.set_attn_implementation(_NAME)
        if any(name != _NAME for name in _implementations(base).values()):
            raise ModelError(
                f'{type(base).__name__} does not follow set_attn_implementation("eager"): '
                "its attention weights cannot be read"
            )
        yield
    finally:
        _CAPTURE.reset(token)
        base.set_attn_implementation(found)


def forward(
    model: CausalLM,
    ids: Int[Tensor, "batch token"],
    mask: Int[Tensor, "batch token"] | None = None,
    *,
    keep: int | None = None,
) -> Float[Tensor, "batch kept vocabulary"]:
    """The logits of the first `keep` positions (all of them for None), in float32, without dropout or cache."""
    base = base_model(model)
    mask = torch.ones_like(ids) if mask is None else mask
    settings: dict[str, Any] = {}
    parameters = inspect.signature(base.forward).parameters
    if keep is not None and "logits_to_keep" in parameters:
        settings["logits_to_keep"] = torch.arange(min(keep, ids.shape[1]), device=ids.device)
    if not mask.all() and "position_ids" in parameters:
        settings["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)
    training = base.training
    base.eval()
    try:
        with torch.inference_mode():
            # The mask is explicit: without one, jumps in the positions would be read as packed sequences.
            logits: Tensor = base(input_ids=ids, attention_mask=mask, use_cache=False, **settings).logits
            return logits[:, :keep].float()
    finally:
        base.train(training)


def base_model(model: CausalLM) -> PreTrainedModel:
    """The transformers model, inside its adapters if it has some; they stay on or off as they are."""
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    assert isinstance(base, PreTrainedModel)
    return base


def output_projection(model: CausalLM, layer: int) -> nn.Module | None:
    """The module that maps a layer's heads, side by side, to the residual stream; None where no name of it is known."""
    for part in base_model(model).modules():
        if getattr(part, "layer_idx", None) == layer:
            for name in ("o_proj", "c_proj", "out_proj", "dense"):
                projection = getattr(part, name, None)
                if isinstance(projection, nn.Module):
                    return projection
    return None


def _attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **settings: Any
) -> tuple[Tensor, Tensor | None]:
    eager = getattr(sys.modules[type(module).__module__], "eager_attention_forward", None)
    if eager is None:
        raise ModelError(f"{type(module).__name__} has no eager attention; its weights cannot be read")
    capture = _CAPTURE.get()
    if capture is not None and not capture.masked:
        attention_mask = None
    output, weights = eager(module, query, key, value, attention_mask, **settings)
    if capture is None:
        return output, weights
    scaling = settings.get("scaling")
    capture.receive(
        LayerAttention(
            layer=int(getattr(module, "layer_idx", 0)),
            weights=weights,
            visible=_visible(attention_mask, weights),
            queries=query,
            keys=key,
            values=value,
            scaling=query.shape[-1] ** -0.5 if scaling is None else float(scaling),
            softcap=settings.get("softcap"),
            sink_logits=_sink_logits(module, settings),
        )
    )
    return output, None


def _sink_logits(module: nn.Module, settings: dict[str, Any]) -> Float[Tensor, "#batch head #query"] | None:
    """A parameter per head, by either of its two names, or one value per head and query (`sinks=`)."""
    given = next((settings[name] for name in ("sinks", "s_aux") if settings.get(name) is not None), None)
    sinks = getattr(module, "sinks", None) if given is None else given
    if not isinstance(sinks, Tensor):
        return None
    if sinks.ndim not in (1, 4):
        raise ModelError(f"{type(module).__name__} has sinks of {sinks.ndim} axes; their share cannot be read")
    return sinks[None, :, None] if sinks.ndim == 1 else sinks[..., 0]


def _visible(mask: Tensor | None, weights: Tensor) -> Bool[Tensor, "batch query key"]:
    batch, _, queries, keys = weights.shape
    if mask is None:
        return torch.ones((batch, queries, keys), dtype=torch.bool, device=weights.device)
    seen = mask if mask.dtype == torch.bool else mask == 0
    return seen[:, 0, :, :keys].expand(batch, -1, -1)


def _implementations(model: PreTrainedModel) -> dict[str, Any]:
    """The attention implementation of the model and of its parts, as `set_attn_implementation` takes them back."""
    parts = {name: getattr(model.config, name, None) for name in model.config.sub_configs}
    return {
        "": model.config._attn_implementation,
        **{name: part._attn_implementation for name, part in parts.items() if part is not None},
    }


@contextlib.contextmanager
def _quiet_refusal() -> Iterator[None]:
    """transformers only logs that a model keeps its implementation; the error raised here instead says more."""
    from transformers.utils import logging  # noqa: PLC0415 - a name that would hide the standard library's

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
