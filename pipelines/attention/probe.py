"""Attention maps of a sequence, complete and checked: the one way from a model to `AttentionMaps`.

Takes a model, its tokenizer and symbols; leaves maps whose checks held, or the scores alone where the maps would not
fit. A broken check is an error, never a note: maps of another implementation than the one the model runs, or rows that
do not sum to 1, would be pictures of nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import transformers
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from pipelines.attention.capture import (
    CausalLM,
    LayerAttention,
    Receive,
    base_model,
    captured,
    forward,
    output_projection,
)
from pipelines.attention.checks import Checks, check_layer, check_recomputed, merge_checks
from pipelines.attention.maps import AttentionMaps
from pipelines.attention.scores import layer_scores, symbol_class
from pipelines.attention.symbols import TokenSequence, encode
from pipelines.errors import ConfigError, ModelError

LOGIT_TOLERANCE = 1e-4
LOGIT_RELATIVE_TOLERANCE = 2e-5
"""Of the largest logit, where that is more: on 128 random tokens of the bundled model logits reach 40, and float32
alone puts either implementation up to 8e-4 from float64. A lost mask changes them by more than 1."""
_KEEP_LOGITS_UP_TO = 32
"""Longest sequence in tokens whose logits and value norms are kept beside the weights."""
_COMPARED_TOKENS = 128
"""Positions whose logits are compared between implementations; in a causal model no later token can change them."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """What of a forward pass is kept."""

    layers: tuple[int, ...] | None = None
    """Numbers of the layers, from 0; None for all."""
    heads: tuple[int, ...] | None = None
    """Numbers of the heads in each layer, from 0; None for all."""
    masked: bool = True
    """False runs the same weights without a mask, for teaching: what no autoregressive model does."""


def probe(
    model: CausalLM,
    tokenizer: PreTrainedTokenizerBase,
    sequence: TokenSequence | Sequence[str] | str,
    selection: Selection | None = None,
) -> AttentionMaps:
    """The attention of every layer and head, or of a selection, over a sequence, in one forward pass.

    A string or a list of symbols stands for those symbols, one token each; `encode` makes other sequences. Raises
    DataError when the symbols are no tokens or a check fails, ModelError when the model's attention cannot be read,
    ConfigError for a layer or head it does not have.
    """
    if not isinstance(sequence, TokenSequence):
        sequence = encode(tokenizer, sequence)
    (maps,) = probe_batch(model, tokenizer, [sequence], selection)
    return maps


def probe_batch(
    model: CausalLM,
    tokenizer: PreTrainedTokenizerBase,
    sequences: Sequence[TokenSequence],
    selection: Selection | None = None,
) -> list[AttentionMaps]:
    """`probe` for several sequences in one pass, padded on the left; the padding is cut off before anything is read."""
    wanted = selection or Selection()
    layers = _chosen(model, "layers", wanted.layers, "num_hidden_layers")
    heads = _chosen(model, "heads", wanted.heads, "num_attention_heads")
    short = max(len(sequence.ids) for sequence in sequences) <= _KEEP_LOGITS_UP_TO
    kept: list[dict[int, _Layer]] = [{} for _ in sequences]

    def receive(attention: LayerAttention) -> None:
        if attention.layer in layers:
            projection = output_projection(model, attention.layer) if short else None
            for row, sequence in enumerate(sequences):
                layer = _Layer.read(attention, row, len(sequence.ids), projection, with_logits=short)
                layer.check(masked=wanted.masked, dtype=_dtype(model))
                kept[row][attention.layer] = layer.of_heads(heads)

    ids, mask = _left_padded(sequences, base_model(model).device)
    compared = _run(model, ids, mask, receive, masked=wanted.masked)
    return [
        AttentionMaps(
            **_stack([found[layer] for layer in sorted(found)]),
            layers=tuple(sorted(found)),
            heads=heads,
            tokens=tuple(tokenizer.decode([token]) for token in sequence.ids),
            ids=sequence.ids,
            prefix_tokens=sequence.prefix_tokens,
            groups=sequence.groups,
            symbol_texts=tuple(tokenizer.decode([sequence.ids[at] for at in group]) for group in sequence.groups),
            masked=wanted.masked,
            info=_info(model, sequence),
            checks={**merge_checks(layer.checks for layer in found.values()), **compared},
        )
        for sequence, found in zip(sequences, kept, strict=True)
    ]


def probe_scores(
    model: CausalLM, tokenizer: PreTrainedTokenizerBase, sequence: TokenSequence
) -> tuple[dict[str, Float[np.ndarray, "layer head"]], Checks]:
    """(scores by name, checks) of every head, for sequences whose maps would not fit: each layer's are freed at once.

    The numbers are those that `score_maps` gives for the whole maps. Raises like `probe`.
    """
    start = sequence.prefix_tokens
    classes = [symbol_class(tokenizer.decode([token])) for token in sequence.ids]
    scores: dict[int, dict[str, Float[np.ndarray, " head"]]] = {}
    checks: list[Checks] = []

    def receive(attention: LayerAttention) -> None:
        layer = _Layer.read(attention, 0, len(sequence.ids), None, with_logits=False)
        layer.check(masked=True, dtype=_dtype(model))
        checks.append(layer.checks)
        scores[attention.layer] = layer_scores(layer.weights, layer.visible, sequence.ids, classes, start)

    ids, mask = _left_padded([sequence], base_model(model).device)
    compared = _run(model, ids, mask, receive, masked=True)
    names = next(iter(scores.values()))
    stacked = {name: np.stack([scores[layer][name] for layer in sorted(scores)]) for name in names}
    return stacked, {**merge_checks(checks), **compared}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Layer:
    """One layer's maps over one sequence."""

    weights: Float[np.ndarray, "head query key"]
    visible: Bool[np.ndarray, "query key"]
    logits: Float[np.ndarray, "head query key"] | None
    sink: Float[np.ndarray, "head query"] | None
    value_norms: Float[np.ndarray, "head key"] | None = None
    checks: Checks = dataclasses.field(default_factory=dict)

    @classmethod
    def read(
        cls, attention: LayerAttention, row: int, tokens: int, projection: nn.Module | None, *, with_logits: bool
    ) -> _Layer:
        """The last `tokens` positions of one row of a batch: what stands before them is padding."""
        own = slice(attention.weights.shape[-1] - tokens, None)
        weights = attention.weights[row, :, own, own].float().cpu().numpy()
        share = attention.sink_share()
        return cls(
            weights=weights,
            visible=attention.visible[row, own, own].cpu().numpy(),
            logits=attention.logits()[row, :, own, own].float().cpu().numpy() if with_logits else None,
            sink=None if share is None else share[row, :, own].float().cpu().numpy(),
            value_norms=None
            if projection is None
            else _value_norms(attention.values[row, :, own], projection, weights),
        )

    def check(self, *, masked: bool, dtype: str) -> None:
        """Measure what must hold of the layer; DataError if it does not."""
        self.checks.update(check_layer(self.weights, self.visible, sink=self.sink, masked=masked, dtype=dtype))
        if self.logits is not None:
            recomputed = check_recomputed(self.weights, self.visible, self.logits, sink=self.sink, dtype=dtype)
            self.checks.update(recomputed)

    def of_heads(self, heads: tuple[int, ...]) -> _Layer:
        """The chosen heads, copied out of the model's memory."""
        some = list(heads)
        return dataclasses.replace(
            self,
            weights=self.weights[some],
            logits=None if self.logits is None else self.logits[some],
            sink=None if self.sink is None else self.sink[some],
            value_norms=None if self.value_norms is None else self.value_norms[some],
        )


def _stack(layers: Sequence[_Layer]) -> dict[str, Any]:
    """The arrays of `AttentionMaps`, layer by layer; a layer without a sink takes nothing."""
    with_sink = any(layer.sink is not None for layer in layers)
    sinks = [np.zeros(layer.weights.shape[:2], np.float32) if layer.sink is None else layer.sink for layer in layers]
    logits = [layer.logits for layer in layers if layer.logits is not None]
    norms = [layer.value_norms for layer in layers if layer.value_norms is not None]
    return {
        "weights": np.stack([layer.weights for layer in layers]),
        "visible": np.stack([layer.visible for layer in layers]),
        "logits": np.stack(logits) if logits else None,
        "sink": np.stack(sinks) if with_sink else None,
        "value_norms": np.stack(norms) if len(norms) == len(layers) else None,
    }


def _value_norms(
    values: Float[Tensor, "key_value_head key size"],
    projection: nn.Module,
    weights: Float[np.ndarray, "head query key"],
) -> Float[np.ndarray, "head key"]:
    """Length of each key's value after the head's part of the output projection, adapters included, bias left out."""
    heads, (kinds, keys, size) = len(weights), values.shape
    alone = values.new_zeros((heads, keys, heads, size))
    for head in range(heads):
        alone[head, :, head] = values[head * kinds // heads]
    nothing = projection(alone.new_zeros((1, heads * size)))
    norms: np.ndarray = (projection(alone.flatten(2)) - nothing).float().norm(dim=-1).cpu().numpy()
    return norms


def _run(
    model: CausalLM,
    ids: Int[Tensor, "batch token"],
    mask: Int[Tensor, "batch token"],
    receive: Receive,
    *,
    masked: bool,
) -> Checks:
    """One captured pass; the check that it computed what the model computes by its own implementation."""
    seen = set()

    def count(attention: LayerAttention) -> None:
        seen.add(attention.layer)
        receive(attention)

    with captured(model, count, masked=masked):
        eager = forward(model, ids, mask, keep=_COMPARED_TOKENS)
    expected = _attention_layers(model)
    if seen != expected:
        raise ModelError(
            f"{type(base_model(model)).__name__} gave attention maps of {len(seen)} layers, expected {len(expected)}; "
            "its attention cannot be read layer by layer"
        )
    if not masked:
        return {}  # nothing to compare with: no implementation runs that way
    own = forward(model, ids[:, :_COMPARED_TOKENS], mask[:, :_COMPARED_TOKENS])
    # A padded position sees nothing; what comes out there is noise.
    tokens = mask[:, :_COMPARED_TOKENS].bool()
    difference = float((own - eager)[tokens].abs().max())
    allowed = max(LOGIT_TOLERANCE, LOGIT_RELATIVE_TOLERANCE * float(own[tokens].abs().max()))
    if _dtype(model) == "float32" and difference > allowed:
        raise ModelError(
            f"eager attention changes the logits by {difference:.2e} (allowed {allowed:.0e}); the maps would not "
            "be those of the model as it runs"
        )
    return {"eager_logit_difference": difference}


def _attention_layers(model: CausalLM) -> set[int]:
    """The layers that compute softmax attention; all, where the model does not tell its layers apart."""
    config = base_model(model).config.get_text_config()
    kinds = getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers
    return {layer for layer, kind in enumerate(kinds) if kind.endswith("attention") and kind != "linear_attention"}


def _left_padded(
    sequences: Sequence[TokenSequence], device: torch.device
) -> tuple[Int[Tensor, "batch token"], Int[Tensor, "batch token"]]:
    width = max(len(sequence.ids) for sequence in sequences)
    ids = torch.zeros((len(sequences), width), dtype=torch.long, device=device)
    mask = torch.zeros_like(ids)
    for row, sequence in enumerate(sequences):
        ids[row, width - len(sequence.ids) :] = torch.tensor(sequence.ids, device=device)
        mask[row, width - len(sequence.ids) :] = 1
    return ids, mask


def _chosen(model: CausalLM, name: str, wanted: tuple[int, ...] | None, count: str) -> tuple[int, ...]:
    available = range(int(getattr(base_model(model).config.get_text_config(), count)))
    if wanted is None:
        return tuple(available)
    missing = sorted(set(wanted) - set(available))
    if missing or not wanted:
        raise ConfigError(f"{name} must be numbers from 0 to {available[-1]}, got {list(wanted)}; choose among those")
    return tuple(sorted(set(wanted)))


def _dtype(model: CausalLM) -> str:
    return str(base_model(model).dtype).removeprefix("torch.")


def _info(model: CausalLM, sequence: TokenSequence) -> dict[str, Any]:
    base = base_model(model)
    config = base.config.get_text_config()
    return {
        "architecture": type(base).__name__,
        "query_heads": config.num_attention_heads,
        "key_value_heads": getattr(config, "num_key_value_heads", None) or config.num_attention_heads,
        "dtype": _dtype(model),
        "own_attention": base.config._attn_implementation,
        "transformers": transformers.__version__,
        "split": sequence.split,
        "prefix": sequence.prefix,
    }
