"""Attention maps as data: weights, the tokens they belong to, the checks they passed; saved and loaded without a model.

Weights are `[layers, heads, queries, keys]`, float32: row i of a map is how token i spreads its attention over the
tokens up to itself. Holds no torch and computes nothing but its own checks and the merge of tokens to symbols.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from safetensors.numpy import load_file, save

from pipelines.attention.checks import ROW_SUM_TOLERANCE, check_layer, merge_checks
from pipelines.errors import DataError
from pipelines.run.files import write_bytes, write_json
from pipelines.text import escape

_TENSORS = ("weights", "visible", "logits", "sink", "value_norms")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class AttentionMaps:
    """One forward pass's attention over one sequence."""

    weights: Float[np.ndarray, "layer head query key"]
    visible: Bool[np.ndarray, "layer query key"]
    """What each layer's own mask lets a query see; everything, in a pass without a mask."""
    logits: Float[np.ndarray, "layer head query key"] | None = None
    """Scaled products of queries and keys before the mask; None where they were not kept."""
    sink: Float[np.ndarray, "layer head query"] | None = None
    """Mass that a learned sink takes from each row; None for models without sinks."""
    value_norms: Float[np.ndarray, "layer head key"] | None = None
    """Length of what each key adds to the residual stream at weight 1 (Kobayashi et al. 2020, arXiv 2004.10102)."""
    layers: tuple[int, ...]
    """The model's number of each layer in `weights`, from 0."""
    heads: tuple[int, ...]
    """The model's number of each head in `weights`, from 0; the same for every layer."""
    tokens: tuple[str, ...]
    """The tokens as text, in order, prefix included."""
    ids: tuple[int, ...]
    prefix_tokens: int
    """How many of the tokens stand before the first symbol."""
    groups: tuple[tuple[int, ...], ...]
    """Positions of the tokens of each symbol, in order; one position each where every symbol is a token."""
    symbol_texts: tuple[str, ...] = ()
    """Each symbol's tokens decoded together, because a letter may be cut between tokens; empty where unknown."""
    masked: bool = True
    """False for the same weights run without a mask, which no autoregressive model does: for teaching."""
    info: dict[str, Any]
    """Model, settings and versions, for provenance."""
    checks: dict[str, float | bool]
    """What `check` measured, and how far eager attention's logits are from the model's own implementation's."""

    @classmethod
    def from_arrays(
        cls,
        weights: Float[np.ndarray, "layer head query key"],
        tokens: Sequence[str],
        *,
        ids: Sequence[int] | None = None,
        dtype: str = "float32",
    ) -> AttentionMaps:
        """Maps of weights that were computed elsewhere, checked as those of `probe` are.

        Args:
            weights: Causal attention after its softmax: rows sum to 1, everything above the diagonal is 0.
            tokens: A text for each position.
            ids: The tokens' ids; None numbers equal texts alike.
            dtype: What the weights were computed in, which says how far a row may be from 1: `float32`, `bfloat16`, ….

        Returns:
            Maps that can be scored, drawn, saved and explored; each token is a symbol.

        Raises:
            DataError: The shape does not fit the tokens, or the weights are no causal attention.

        Example:
            >>> weights = torch.cat(model(**inputs, output_attentions=True).attentions)  # a batch of one
            >>> maps = AttentionMaps.from_arrays(weights.detach().float().cpu().numpy(), tokens)
        """
        array, size = np.asarray(weights, dtype=np.float32), len(tokens)
        if array.ndim != 4 or 0 in array.shape or array.shape[2:] != (size, size):
            raise DataError(f"weights must be [layers, heads, {size}, {size}] for {size} tokens, got {array.shape}")
        if dtype not in ROW_SUM_TOLERANCE:
            raise DataError(f"dtype must be one of {', '.join(ROW_SUM_TOLERANCE)}, got {dtype!r}; name one of them")
        layers, heads = array.shape[:2]
        visible = np.tri(size, dtype=bool)
        return cls(
            weights=array,
            visible=np.stack([visible] * layers),
            layers=tuple(range(layers)),
            heads=tuple(range(heads)),
            tokens=tuple(tokens),
            ids=tuple(ids if ids is not None else (list(tokens).index(token) for token in tokens)),
            prefix_tokens=0,
            groups=tuple((place,) for place in range(size)),
            info={"text": " ".join(tokens), "query_heads": heads, "dtype": dtype, "split": "symbols"},
            checks=merge_checks(check_layer(layer, visible, dtype=dtype) for layer in array),
        )

    def symbols_only(self) -> Float[np.ndarray, "layer head query key"]:
        """The weights among the tokens after the prefix; with a prefix, rows then sum to less than 1."""
        start = self.prefix_tokens
        return self.weights[:, :, start:, start:]

    def symbols(self) -> tuple[str, ...]:
        """The text of each symbol, the spaces around it dropped."""
        texts = self.symbol_texts or ["".join(self.tokens[place] for place in group) for group in self.groups]
        return tuple(text.strip() or text for text in texts)

    def labels(self) -> tuple[str, ...]:
        """`symbols`, fit to print: nothing in them is invisible or turns the line around."""
        return tuple(escape(text) for text in self.symbols())

    def merged(self) -> Float[np.ndarray, "layer head symbol symbol"]:
        """Weights between symbols: summed over a key symbol's tokens, averaged over a query symbol's.

        Rows keep their sums and the strict upper triangle its zeros (Clark et al. 2019, arXiv 1906.04341, section 4.1).
        """
        by_key = np.stack([self.weights[..., list(group)].sum(-1) for group in self.groups], axis=-1)
        return np.stack([by_key[:, :, list(group)].mean(-2) for group in self.groups], axis=-2)

    def head(self, layer: int, head: int) -> Float[np.ndarray, "symbol symbol"]:
        """One head's weights between symbols.

        Args:
            layer: The model's own number of the layer, from 0.
            head: The model's own number of the head, from 0.

        Returns:
            A row for each symbol, spread over the symbols up to itself.

        Raises:
            DataError: That layer or head was not probed.

        Example:
            >>> maps.symbols()[maps.head(6, 1)[4].argmax()]
            '2'
        """
        if layer not in self.layers or head not in self.heads:
            raise DataError(f"layer {layer}, head {head} is not among the probed ones; probe it as well")
        pattern: np.ndarray = self.merged()[self.layers.index(layer), self.heads.index(head)]
        return pattern

    def visible_symbols(self, layer: int) -> Bool[np.ndarray, "symbol symbol"]:
        """Which symbols the layer's mask lets each symbol see some token of."""
        visible = self.visible[self.layers.index(layer)]
        return np.array([[visible[np.ix_(query, key)].any() for key in self.groups] for query in self.groups])

    def save(self, stem: Path) -> None:
        """Write `<stem>.safetensors` (the arrays) and `<stem>.json` (everything else), each whole or not at all.

        Args:
            stem: Path without a suffix; what stands after a dot in it is part of the name.

        Raises:
            OSError: The folder cannot be written.

        Example:
            >>> maps.save(Path("runs/mine/before"))
            >>> AttentionMaps.load(Path("runs/mine/before")).weights.shape
            (30, 9, 5, 5)
        """
        arrays = {name: getattr(self, name) for name in _TENSORS}
        tensors = {name: np.ascontiguousarray(array) for name, array in arrays.items() if array is not None}
        write_bytes(_with_suffix(stem, ".safetensors"), save(tensors))
        rest = {
            field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name not in _TENSORS
        }
        write_json(_with_suffix(stem, ".json"), {"shape": list(self.weights.shape), **rest})

    @classmethod
    def load(cls, stem: Path) -> AttentionMaps:
        """The maps that `save` wrote, without a model.

        Args:
            stem: Path without a suffix, as given to `save`.

        Returns:
            The same maps, to the bit.

        Raises:
            DataError: A file is missing or damaged; it is named.

        Example:
            >>> maps = AttentionMaps.load(Path("runs/default/attention/before"))
            >>> maps.labels()
            ('1', 'a', '2', 'b', '3')
        """
        try:
            tensors = load_file(_with_suffix(stem, ".safetensors"))
            rest = json.loads(_with_suffix(stem, ".json").read_text(encoding="utf-8"))
            del rest["shape"]
            for name in ("layers", "heads", "tokens", "ids"):
                rest[name] = tuple(rest[name])
            rest["symbol_texts"] = tuple(rest.get("symbol_texts", ()))
            rest["groups"] = tuple(tuple(group) for group in rest["groups"])
            return cls(**{name: tensors.get(name) for name in _TENSORS}, **rest)
        except Exception as error:
            if (
                not isinstance(error, OSError | ValueError | KeyError | TypeError)
                and "safetensors" not in type(error).__module__
            ):
                raise
            raise DataError(f"{stem}.*: cannot be read ({error}); run `attend-and-prefer probe` again") from error


def _with_suffix(stem: Path, suffix: str) -> Path:
    """Appended: what stands after a dot in the stem, as in `qwen2.5`, is part of the name."""
    return stem.with_name(stem.name + suffix)
