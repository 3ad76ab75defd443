"""One forward pass over many sequences at once, packed into one row: continuations by a token, prompts by a segment.

Runs a Hugging Face causal LM whose tokens see all earlier ones; returns next-token logits. A continuation attends to
its prompt's segments, whose keys and values are kept once for all that share them, and to its own pages. Each segment
is one matrix product for all continuations below it, and one softmax over all parts makes the result exact.
transformers' model does everything else: a function of ours stands in for its attention, by transformers' own
`AttentionInterface`.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

from pipelines.engine.paged_cache import PAGE_TOKENS, PagePool, PageStep
from pipelines.engine.prefixes import Segment

_NAME = "attend_and_prefer_packed"
_BEYOND = ("softcap", "s_aux")
"""What an attention function may be given that changes the result and that this one does not do."""


@dataclasses.dataclass(kw_only=True, slots=True, eq=False)
class Row:
    """The next token of one continuation."""

    leaf: Segment
    token: int
    length: int
    """Tokens generated so far, this one included."""
    pages: list[int]

    @property
    def position(self) -> int:
        """Place of the token in the whole sequence."""
        return self.leaf.end + self.length - 1


class PackedPass:
    """What one forward pass is to do: first every row's token, then every fresh segment's tokens."""

    def __init__(
        self,
        pool: PagePool,
        rows: Sequence[Row],
        fresh: Sequence[Segment],
        copies: Sequence[tuple[int, int]],
        device: torch.device,
    ) -> None:
        """Rows of one segment stand side by side; a fresh segment comes after its parent."""
        self._pool, self._rows, self._fresh, self._device = pool, rows, fresh, device
        self._shared = _runs(rows)
        self.tokens = max([row.position + 1 for row in rows] + [segment.end for segment in fresh])
        """Length of the longest sequence, its new tokens included."""
        self._width = max((row.leaf.end for row in rows), default=0)
        """Columns of the scores that belong to prompts; a row's own tokens come after them."""
        if rows:
            self._step = PageStep([row.pages for row in rows], [row.length for row in rows], copies, device)
            self._hidden = self._unseen()

    def run(self, model: PreTrainedModel, ends: Sequence[Segment]) -> Float[Tensor, "row vocabulary"]:
        """Next-token logits of every row, then of every fresh segment that ends a prompt."""
        tokens = [row.token for row in self._rows]
        positions = [row.position for row in self._rows]
        wanted = list(range(len(self._rows)))
        for segment in self._fresh:
            tokens += segment.tokens
            positions += range(segment.start, segment.end)
            if any(segment is end for end in ends):
                wanted.append(len(tokens) - 1)
        current = _PASS.set(self)
        try:
            output = model(
                input_ids=torch.tensor([tokens], device=self._device),
                position_ids=torch.tensor([positions], device=self._device),
                use_cache=False,
                logits_to_keep=torch.tensor(wanted, device=self._device),
            )
        finally:
            _PASS.reset(current)
        logits: Tensor = output.logits[0]
        return logits

    def attend(
        self,
        layer: int,
        queries: Float[Tensor, "head token size"],
        keys: Float[Tensor, "key_value_head token size"],
        values: Float[Tensor, "key_value_head token value_size"],
        scaling: float,
    ) -> Float[Tensor, "token head value_size"]:
        """One layer's attention of all tokens of the pass."""
        rows = len(self._rows)
        parts = []
        if rows:
            parts.append(self._continue(layer, queries[:, :rows], keys[:, :rows], values[:, :rows], scaling))
        start = rows
        for segment in self._fresh:
            own = slice(start, start + len(segment.tokens))
            parts.append(_prefill(segment, queries[:, own], keys[:, own], values[:, own], scaling))
            start = own.stop
        return torch.cat(parts)

    def _continue(
        self,
        layer: int,
        queries: Float[Tensor, "head row size"],
        keys: Float[Tensor, "key_value_head row size"],
        values: Float[Tensor, "key_value_head row value_size"],
        scaling: float,
    ) -> Float[Tensor, "row head value_size"]:
        kinds, rows, size = keys.shape
        grouped = len(queries) // kinds
        queries = queries.reshape(kinds, grouped, rows, size).transpose(1, 2).mul(scaling)
        self._pool.write(layer, keys, values, self._step)
        own_keys, own_values = self._pool.read(layer, self._step.table)
        scores = queries.new_empty((kinds, rows, grouped, self._width + own_keys.shape[2]))
        scores[..., self._width :] = queries @ own_keys.transpose(-1, -2)
        for segment, first, last in self._shared:
            product = scores[:, first:last, :, segment.start : segment.end].view(kinds, -1, len(segment.tokens))
            torch.bmm(queries[:, first:last].reshape(kinds, -1, size), segment.keys[layer].transpose(1, 2), out=product)
        scores.masked_fill_(self._hidden[:, None], float("-inf"))
        weights = scores.softmax(-1, dtype=torch.float32).to(values.dtype)
        attended = weights[..., self._width :] @ own_values
        for segment, first, last in self._shared:
            share = weights[:, first:last, :, segment.start : segment.end].view(kinds, -1, len(segment.tokens))
            attended[:, first:last].view(kinds, -1, attended.shape[-1]).baddbmm_(share, segment.values[layer])
        return attended.transpose(0, 1).reshape(rows, kinds * grouped, -1)

    def _unseen(self) -> Bool[Tensor, "row key"]:
        """Columns that are not a row's: shorter prompts leave a gap before the row's own tokens, pages one after."""
        ends = torch.tensor([row.leaf.end for row in self._rows], device=self._device)
        prompt = torch.arange(self._width, device=self._device) >= ends[:, None]
        pages = torch.arange(self._step.table.shape[1] * PAGE_TOKENS, device=self._device)
        return torch.cat([prompt, pages >= self._step.lengths[:, None]], dim=1)


_PASS: ContextVar[PackedPass | None] = ContextVar("packed_pass", default=None)


@contextlib.contextmanager
def packed_attention(model: PreTrainedModel) -> Iterator[None]:
    """Let `PackedPass.run` compute the model's attention inside the block; the model is left as it was."""
    # No mask function of the same name is registered: transformers then builds no mask, and ours needs none.
    AttentionInterface.register(_NAME, _attention)
    own = model.config._attn_implementation
    model.set_attn_implementation(_NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(own)


def _attention(
    module: nn.Module,
    query: Float[Tensor, "batch head token size"],
    key: Float[Tensor, "batch key_value_head token size"],
    value: Float[Tensor, "batch key_value_head token value_size"],
    attention_mask: Any,
    scaling: float | None = None,
    **options: Any,
) -> tuple[Float[Tensor, "batch token head value_size"], None]:
    current = _PASS.get()
    beyond = [name for name in _BEYOND if options.get(name) is not None]
    window = options.get("sliding_window")
    if window is not None and current is not None and current.tokens > window:
        beyond.append(f"a window of {window} tokens over {current.tokens}")
    if current is None or attention_mask is not None or beyond:
        raise NotImplementedError(f"attention with {', '.join(beyond) or 'a mask of its own'}")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    layer = module.layer_idx
    assert isinstance(layer, int)
    return current.attend(layer, query[0], key[0], value[0], scale)[None], None


def _prefill(
    segment: Segment,
    queries: Float[Tensor, "head token size"],
    keys: Float[Tensor, "key_value_head token size"],
    values: Float[Tensor, "key_value_head token value_size"],
    scaling: float,
) -> Float[Tensor, "token head value_size"]:
    """A segment's attention to the segments above it and, causally, to itself; keeps its keys and values."""
    layer = len(segment.keys)
    segment.keys.append(keys.contiguous())
    segment.values.append(values.contiguous())
    path = segment.path()
    above = torch.ones((len(segment.tokens), segment.end), dtype=torch.bool, device=queries.device)
    attended = F.scaled_dot_product_attention(
        queries[None],
        torch.cat([part.keys[layer] for part in path], dim=1)[None],
        torch.cat([part.values[layer] for part in path], dim=1)[None],
        attn_mask=above.tril(segment.start),
        scale=scaling,
        enable_gqa=True,
    )
    return attended[0].transpose(0, 1)


def _runs(rows: Sequence[Row]) -> list[tuple[Segment, int, int]]:
    """(segment, first row, row after the last) for every segment above a row; its rows stand side by side."""
    runs: dict[int, tuple[Segment, int, int]] = {}
    for index, row in enumerate(rows):
        for segment in row.leaf.path():
            _, first, last = runs.get(id(segment), (segment, index, index))
            assert last == index
            runs[id(segment)] = (segment, first, index + 1)
    return list(runs.values())
