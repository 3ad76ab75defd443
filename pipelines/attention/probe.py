"""Attention maps of a sequence, complete and checked: the one way from a model to `AttentionMaps`.

Reads a model, its tokenizer and symbols; returns maps whose checks held, or the scores alone where the maps would not
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
from jaxtyping import Float, Int
from torch import Tensor
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
from pipelines.attention.checks import Checks, merge_checks
from pipelines.attention.layer_maps import LayerMaps, stack_layers
from pipelines.attention.maps import AttentionMaps
from pipelines.attention.scores import layer_scores, symbol_class, uniform_rows
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

    Args:
        model: A causal LM of transformers, or one with a peft adapter; left as it was found.
        tokenizer: The model's own.
        sequence: A text, a list of symbols (one token each), or what `encode` returns.
        selection: The layers and heads to keep, and whether to run with a mask; None for all, with one.

    Returns:
        Maps whose checks held, `.weights` shaped `[layers, heads, queries, keys]`, float32.

    Raises:
        DataError: A listed symbol is not one token, or the weights fail a check.
        ModelError: The model's attention cannot be read, or eager attention computes something else than the model.
        ConfigError: A selected layer or head does not exist.

    Example:
        >>> maps = probe(model, tokenizer, "1 a 2 b 3")
        >>> maps.head(6, 1)[3]  # what `b` attends to in layer 6, head 1
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
    layers, heads = selected(model, wanted)
    short = max(len(sequence.ids) for sequence in sequences) <= _KEEP_LOGITS_UP_TO
    kept: list[dict[int, LayerMaps]] = [{} for _ in sequences]

    def receive(attention: LayerAttention) -> None:
        if attention.layer in layers:
            projection = output_projection(model, attention.layer) if short else None
            for row, sequence in enumerate(sequences):
                layer = LayerMaps.read(attention, row, len(sequence.ids), projection, with_logits=short)
                layer.check(masked=wanted.masked, dtype=_dtype(model))
                kept[row][attention.layer] = layer.of_heads(heads)

    ids, mask = _left_padded(sequences, base_model(model).device)
    compared = _run(model, ids, mask, receive, masked=wanted.masked)
    return [
        AttentionMaps(
            **stack_layers([found[layer] for layer in sorted(found)]),
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


def selected(model: CausalLM, selection: Selection) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(layers, heads) that a selection names, in order. ConfigError for one that the model does not have."""
    return (
        _chosen(model, "layers", selection.layers, "num_hidden_layers"),
        _chosen(model, "heads", selection.heads, "num_attention_heads"),
    )


def probe_scores(
    model: CausalLM, tokenizer: PreTrainedTokenizerBase, sequence: TokenSequence, *, uniform: bool = False
) -> tuple[dict[str, Float[np.ndarray, "layer head"]], Checks]:
    """(scores by name, checks) of every head, for sequences whose maps would not fit: each layer's are freed at once.

    The numbers are those that `score_maps` gives for the whole maps; with `uniform`, one more column holds what uniform
    attention gets under the layer's mask. Raises like `probe`.
    """
    start = sequence.prefix_tokens
    classes = [symbol_class(tokenizer.decode([token])) for token in sequence.ids]
    scores: dict[int, dict[str, Float[np.ndarray, " head"]]] = {}
    checks: list[Checks] = []

    def receive(attention: LayerAttention) -> None:
        layer = LayerMaps.read(attention, 0, len(sequence.ids), None, with_logits=False)
        layer.check(masked=True, dtype=_dtype(model))
        checks.append(layer.checks)
        weights = layer.weights
        if uniform:
            weights = np.concatenate([weights, uniform_rows(layer.visible)[None]])
        scores[attention.layer] = layer_scores(weights, layer.visible, sequence.ids, classes, start)

    ids, mask = _left_padded([sequence], base_model(model).device)
    compared = _run(model, ids, mask, receive, masked=True)
    names = next(iter(scores.values()))
    stacked = {name: np.stack([scores[layer][name] for layer in sorted(scores)]) for name in names}
    return stacked, {**merge_checks(checks), **compared}


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
    expected = attention_layers(model)
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


def attention_layers(model: CausalLM) -> set[int]:
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
        "commit": getattr(base.config, "_commit_hash", None),
        "split": sequence.split,
        "prefix": sequence.prefix,
    }
