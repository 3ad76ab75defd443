"""One forward pass per pair instead of two: the prompt once, the chosen and the rejected branching from it.

Takes the batch that TRL's collator makes (chosen rows, then rejected rows, each beginning with its pair's prompt) and
leaves what TRL's trainer expects of the model: per-token values in that batch's own layout. In between, every pair is
laid out as

    prompt without its last token | last prompt token, chosen … | last prompt token, rejected …

with positions that restart at the branch and a mask that lets each branch see the prompt and itself. Several pairs
share a row where that saves padding, and the head sees only the positions that predict a completion token. Each branch
has its own copy of the last prompt token because that position predicts two different tokens. Losses, metrics and the
head stay TRL's. The idea is that of prefix sharing in paired preference optimisation (Wang & Hegde 2024, arXiv
2410.20305).
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from pipelines.models import can_be_packed

_PER_TOKEN = ("log_probs", "entropy", "log_sum_sq_probs", "mean_logits", "is_top1")
_ROW_WIDTHS = (1.0, 1.25, 1.5, 2.0, 3.0, 4.0)
"""Row widths that are tried, in units of the longest pair."""
_ATTENTION_SHARE = 1 / 3000
"""Cost of letting a token look at one more, in units of its way through the layers' matrices: for the bundled model
4 × 30 layers × 576 / (2 × 106 M parameters outside the embedding)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Pair:
    """Where one pair's tokens are in TRL's batch."""

    chosen_row: int
    rejected_row: int
    prompt: int
    """Tokens of the prompt, at the start of both rows."""
    chosen: int
    """Tokens of the chosen completion, after the prompt."""
    rejected: int

    @property
    def length(self) -> int:
        """Tokens of the pair when laid out: the prompt, then each branch without its own last token."""
        return self.prompt - 1 + self.chosen + self.rejected


@dataclasses.dataclass(frozen=True, slots=True)
class Layout:
    """A batch of pairs laid out in rows."""

    input_ids: Int[Tensor, "row token"]
    position_ids: Int[Tensor, "row token"]
    mask: Bool[Tensor, "row 1 query key"]
    gather: Int[Tensor, " predicted"]
    """Flat indices into (row, token) of the positions that predict a completion token."""
    scatter: Int[Tensor, " predicted"]
    """Where each of their values goes in TRL's flattened (row, token − 1) layout."""
    labels: Int[Tensor, " predicted"]


def supports_prefix_sharing(model: PreTrainedModel) -> bool:
    """Whether the model takes an explicit mask and positions: decoder-only, full attention, run by SDPA or eagerly."""
    implementation = model.config.get_text_config()._attn_implementation
    return implementation in ("sdpa", "eager") and can_be_packed(model)


def share_prefixes(model: PreTrainedModel) -> None:
    """Make `model(..., labels=…, fused_lm_head=True)` share prefixes; every other call is as it was.

    To be called after TRL has given the model its fused head. A batch whose rows do not pair up goes the old way.
    """
    fused_forward = model.forward

    def forward(
        self: PreTrainedModel, *args: Any, fused_lm_head: bool = False, labels: Tensor | None = None, **kwargs: Any
    ) -> Any:
        pairs = None
        if fused_lm_head and labels is not None and not args:
            pairs = find_pairs(kwargs["input_ids"], kwargs["attention_mask"], labels)
        if pairs is None:
            if labels is not None:
                kwargs["labels"] = labels
            return fused_forward(*args, fused_lm_head=fused_lm_head, **kwargs)
        return _shared_forward(self, fused_forward, pairs, kwargs)

    model.forward = types.MethodType(forward, model)


def find_pairs(
    input_ids: Int[Tensor, "row token"], attention_mask: Int[Tensor, "row token"], labels: Int[Tensor, "row token"]
) -> list[Pair] | None:
    """The pairs of a batch whose first half is chosen and second half rejected; None when any two do not fit."""
    rows = input_ids.shape[0]
    if rows % 2 or rows == 0 or attention_mask.dim() != 2:
        return None
    lengths = attention_mask.sum(-1).tolist()
    completions = (labels != -100).sum(-1).tolist()
    pairs = []
    for chosen in range(rows // 2):
        rejected = chosen + rows // 2
        prompt = lengths[chosen] - completions[chosen]
        alike = prompt >= 1 and prompt == lengths[rejected] - completions[rejected]
        if not alike or not torch.equal(input_ids[chosen, :prompt], input_ids[rejected, :prompt]):
            return None
        pairs.append(Pair(chosen, rejected, prompt, completions[chosen], completions[rejected]))
    return pairs


def pack(lengths: Sequence[int]) -> tuple[list[list[int]], int]:
    """(which pairs share a row, the rows' width): first fit, longest first, at the width that costs least."""
    longest = max(lengths)
    best: tuple[float, list[list[int]], int] | None = None
    for factor in _ROW_WIDTHS:
        rows = _first_fit(lengths, int(longest * factor))
        width = max(sum(lengths[pair] for pair in row) for row in rows)
        cost = len(rows) * width * (1 + width * _ATTENTION_SHARE)
        if best is None or cost < best[0]:
            best = (cost, rows, width)
    assert best is not None
    return best[1], best[2]


def _first_fit(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    rows: list[list[int]] = []
    free: list[int] = []
    for pair in sorted(range(len(lengths)), key=lambda pair: -lengths[pair]):
        row = next((index for index, room in enumerate(free) if room >= lengths[pair]), None)
        if row is None:
            rows.append([])
            free.append(capacity)
            row = len(rows) - 1
        rows[row].append(pair)
        free[row] -= lengths[pair]
    return rows


def lay_out(input_ids: Int[Tensor, "row token"], pairs: Sequence[Pair]) -> Layout:
    """The pairs' tokens in as few and as full rows as pays, with all that is needed to find the way back."""
    rows, width = pack([pair.length for pair in pairs])
    source = torch.zeros((len(rows), width), dtype=torch.long)
    position = torch.zeros((len(rows), width), dtype=torch.long)
    segment = torch.zeros((len(rows), width), dtype=torch.long)  # 0 is padding; 3k+1 prompt, 3k+2 chosen, 3k+3 rejected
    gather: list[Tensor] = []
    scatter: list[Tensor] = []
    label: list[Tensor] = []
    tokens = input_ids.shape[1]
    for row, members in enumerate(rows):
        start = 0
        for index in members:
            pair = pairs[index]
            shared = pair.prompt - 1
            parts = [(pair.chosen_row, 0, shared), (pair.chosen_row, shared, pair.chosen)]
            parts.append((pair.rejected_row, shared, pair.rejected))
            for kind, (batch_row, first, count) in enumerate(parts, start=1):
                span = torch.arange(first, first + count)
                here = slice(start, start + count)
                source[row, here] = batch_row * tokens + span
                position[row, here] = span
                segment[row, here] = 3 * index + kind
                if kind > 1:
                    gather.append(row * width + torch.arange(start, start + count))
                    scatter.append(batch_row * (tokens - 1) + span)
                    label.append(batch_row * tokens + span + 1)
                start += count
    device = input_ids.device
    flat = input_ids.reshape(-1)
    return Layout(
        input_ids=flat[source.to(device)],
        position_ids=position.to(device),
        mask=_mask(segment.to(device)),
        gather=torch.cat(gather).to(device),
        scatter=torch.cat(scatter).to(device),
        labels=flat[torch.cat(label).to(device)],
    )


def _mask(segment: Int[Tensor, "row token"]) -> Bool[Tensor, "row 1 token token"]:
    """A token sees what came before it of its own segment, and of its pair's prompt; padding sees itself."""
    query, key = segment[:, :, None], segment[:, None, :]
    prompt_of_query = query - (query - 1) % 3
    order = torch.arange(segment.shape[1], device=segment.device)
    before = order[:, None] >= order[None, :]
    visible = before & (query > 0) & ((key == query) | (key == prompt_of_query))
    return (visible | (order[:, None] == order[None, :]))[:, None]


def _shared_forward(
    model: PreTrainedModel, fused_forward: Callable[..., Any], pairs: Sequence[Pair], kwargs: dict[str, Any]
) -> Any:
    """Run the laid-out batch through TRL's fused forward and put its values where the plain batch has them."""
    rows, tokens = kwargs["input_ids"].shape
    layout = lay_out(kwargs["input_ids"], pairs)
    mask: Tensor = layout.mask
    if model.config.get_text_config()._attn_implementation == "eager":
        mask = torch.zeros_like(mask, dtype=model.dtype).masked_fill(~mask, torch.finfo(model.dtype).min)

    def keep_predicting(_module: nn.Module, _arguments: Any, output: Any) -> Any:
        hidden = output.last_hidden_state
        output.last_hidden_state = hidden.reshape(1, -1, hidden.shape[-1])[:, layout.gather]
        return output

    rest = {name: value for name, value in kwargs.items() if name not in ("input_ids", "attention_mask")}
    handle = model.base_model.register_forward_hook(keep_predicting)
    try:
        output = fused_forward(
            input_ids=layout.input_ids,
            attention_mask=mask,
            position_ids=layout.position_ids,
            shift_labels=layout.labels[None],
            fused_lm_head=True,
            **rest,
        )
    finally:
        handle.remove()
    for name in (*_PER_TOKEN, "label_mask"):
        value = getattr(output, name)
        if value is not None:
            plain = value.new_zeros(rows * (tokens - 1)).scatter(0, layout.scatter, value[0])
            setattr(output, name, plain.view(rows, tokens - 1))
    return output
