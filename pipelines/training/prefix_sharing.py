"""Every distinct prefix of a batch once: prompts, and what completions have in common, are computed for all their rows.

Reads the batch that TRL's collator makes and returns what TRL's trainer expects of the model: per-token values in that
batch's own layout. In between, the rows become prefix trees, each laid out depth first in one packed row: a token's
position is its depth, and it sees itself and its ancestors. So a pair's prompt is computed once for the chosen and the
rejected, few-shot examples once for all requests after them, a chat template's opening once for the batch; and the
head sees only positions that predict a completion token, each with a given label once. Losses, metrics and the head
stay TRL's. The idea is that of prefix sharing in paired preference optimisation (Wang & Hegde 2024, arXiv 2410.20305),
carried from pairs to whole batches.
"""

from __future__ import annotations

import dataclasses
import types
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Int
from rapidfuzz.distance import Prefix
from torch import Tensor, nn
from transformers import PreTrainedModel

from pipelines.models import packable_tokens

_PER_TOKEN = ("log_probs", "entropy", "log_sum_sq_probs", "mean_logits", "is_top1")
_ROW_WIDTHS = (1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
"""Row widths that are tried, in units of the longest sequence."""
_ATTENTION_SHARE = 1 / 3000
"""Cost of letting a token look at one more, in units of its way through the layers' matrices: for the bundled model
4 × 30 layers × 576 / (2 × 106 M parameters outside the embedding)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Layout:
    """A batch laid out as prefix trees."""

    input_ids: Int[Tensor, "row token"]
    position_ids: Int[Tensor, "row token"]
    mask: Bool[Tensor, "row 1 query key"]
    gather: Int[Tensor, " predicted"]
    """Flat indices into (row, token) of the positions that predict a completion token."""
    labels: Int[Tensor, " predicted"]
    """What each of them predicts; a position that predicts two different tokens is there twice."""
    source: Int[Tensor, " completion_token"]
    """Which of the predicted values each completion token of the batch takes."""
    scatter: Int[Tensor, " completion_token"]
    """Where it goes in TRL's flattened layout of (row, token − 1)."""


def supports_prefix_sharing(model: PreTrainedModel) -> bool:
    """Whether the model takes an explicit mask and positions: decoder-only, softmax attention, run by SDPA or eagerly.

    A mixture of experts does not: its balancing loss reads the mask as one value per token.
    """
    config = model.config.get_text_config()
    is_mixture = hasattr(config, "output_router_logits")
    return config._attn_implementation in ("sdpa", "eager") and not is_mixture and packable_tokens(model) > 0


def share_prefixes(model: PreTrainedModel) -> None:
    """Make `model(..., labels=…, fused_lm_head=True)` share prefixes; every other call is as it was.

    To be called after TRL has given the model its fused head. A batch that is not padded on the right goes the old way,
    and so does one with a row that is longer than a layer's sliding window, which is said once.
    """
    fused_forward = model.forward
    longest = packable_tokens(model)

    def forward(
        self: PreTrainedModel, *args: Any, fused_lm_head: bool = False, labels: Tensor | None = None, **kwargs: Any
    ) -> Any:
        if fused_lm_head and labels is not None and not args and _is_right_padded(kwargs["attention_mask"]):
            if labels.shape[1] <= longest:
                return _shared_forward(self, fused_forward, labels, kwargs)
            # By default Python shows one warning once.
            warnings.warn(f"rows of more than {longest} tokens, the attention window, share no prefixes", stacklevel=2)
        if labels is not None:
            kwargs["labels"] = labels
        return fused_forward(*args, fused_lm_head=fused_lm_head, **kwargs)

    model.forward = types.MethodType(forward, model)


def _is_right_padded(attention_mask: Tensor) -> bool:
    return attention_mask.dim() == 2 and bool((attention_mask[:, :-1] >= attention_mask[:, 1:]).all())


def pack(lengths: Sequence[int], shared: Sequence[int]) -> tuple[list[list[int]], int]:
    """(runs of sequences that share a row, the rows' width), at the width that costs least.

    `shared` is how many tokens each sequence, of those in lexicographic order, has in common with the one before it.
    """
    best: tuple[float, list[list[int]], int] | None = None
    for factor in _ROW_WIDTHS:
        runs, width = _fill(lengths, shared, int(max(lengths) * factor))
        cost = len(runs) * width * (1 + width * _ATTENTION_SHARE)
        if best is None or cost < best[0]:
            best = (cost, runs, width)
    assert best is not None
    return best[1], best[2]


def _fill(lengths: Sequence[int], shared: Sequence[int], capacity: int) -> tuple[list[list[int]], int]:
    """Runs whose trees have at most `capacity` tokens, one after the other, and the largest tree's tokens."""
    runs: list[list[int]] = []
    sizes: list[int] = []
    for index, (length, common) in enumerate(zip(lengths, shared, strict=True)):
        if runs and sizes[-1] + length - common <= capacity:
            runs[-1].append(index)
            sizes[-1] += length - common
        else:
            runs.append([index])
            sizes.append(length)
    return runs, max(sizes)


def lay_out(input_ids: Int[Tensor, "row token"], labels: Int[Tensor, "row token"]) -> Layout | None:
    """The batch as prefix trees, with all that is needed to find the way back; None when it has no label at all.

    Rows are padded on the right. What comes after a row's last label is left out.
    """
    ids, wanted = input_ids.tolist(), labels[:, 1:].tolist()
    predicted = [[place for place, label in enumerate(row) if label != -100] for row in wanted]
    order = sorted((row for row, places in enumerate(predicted) if places), key=lambda row: ids[row])
    if not order:
        return None
    lengths = [predicted[row][-1] + 1 for row in order]
    sequences = [ids[row][:length] for row, length in zip(order, lengths, strict=True)]
    shared = [0, *map(Prefix.similarity, sequences, sequences[1:])]
    runs, width = pack(lengths, shared)
    trees = [_Tree([], [], []) for _ in runs]
    found: dict[tuple[int, int], int] = {}
    source: list[int] = []
    scatter: list[int] = []
    for place, (tree, run) in enumerate(zip(trees, runs, strict=True)):
        for index in run:
            row = order[index]
            path = tree.add(sequences[index], shared[index] if index != run[0] else 0)
            for token in predicted[row]:
                key = (place * width + path[token], wanted[row][token])
                source.append(found.setdefault(key, len(found)))
                scatter.append(row * len(wanted[row]) + token)
    device = input_ids.device
    end = torch.tensor([tree.ends(width) for tree in trees], device=device)
    gather, distinct = zip(*found, strict=True)
    return Layout(
        input_ids=torch.tensor([_padded(tree.tokens, width) for tree in trees], device=device),
        position_ids=torch.tensor([_padded(tree.depths, width) for tree in trees], device=device),
        mask=_mask(end),
        gather=torch.tensor(gather, device=device),
        labels=torch.tensor(distinct, device=device),
        source=torch.tensor(source, device=device),
        scatter=torch.tensor(scatter, device=device),
    )


@dataclasses.dataclass(slots=True)
class _Tree:
    """A prefix tree depth first, while sequences are added to it in lexicographic order."""

    tokens: list[int]
    depths: list[int]
    path: list[int]
    """Places of the last sequence's tokens."""
    closed: dict[int, int] = dataclasses.field(default_factory=dict)
    """Place of a token → the first place behind its subtree, for those that no later sequence goes through."""

    def add(self, sequence: Sequence[int], common: int) -> list[int]:
        """Add a sequence that shares `common` tokens with the one before; returns the places of its tokens."""
        count = len(self.tokens)
        self.closed.update(dict.fromkeys(self.path[common:], count))
        self.tokens += sequence[common:]
        self.depths += range(common, len(sequence))
        self.path = [*self.path[:common], *range(count, len(self.tokens))]
        return self.path

    def ends(self, width: int) -> list[int]:
        """For each place of the row the first behind its subtree; padding is alone with itself."""
        count = len(self.tokens)
        return [self.closed.get(place, count) for place in range(count)] + list(range(count + 1, width + 1))


def _padded(values: list[int], width: int) -> list[int]:
    return values + [0] * (width - len(values))


def _mask(end: Int[Tensor, "row token"]) -> Bool[Tensor, "row 1 token token"]:
    """A token sees those before it whose subtree it is in: depth first, a subtree is an unbroken run."""
    place = torch.arange(end.shape[1], device=end.device)
    return ((place[None, :] <= place[:, None]) & (place[None, :, None] < end[:, None, :]))[:, None]


def _shared_forward(
    model: PreTrainedModel, fused_forward: Callable[..., Any], labels: Tensor, kwargs: dict[str, Any]
) -> Any:
    """Run the laid-out batch through TRL's fused forward and put its values where the plain batch has them."""
    rows, tokens = kwargs["input_ids"].shape
    layout = lay_out(kwargs["input_ids"], labels)
    if layout is None:
        return fused_forward(fused_lm_head=True, labels=labels, **kwargs)
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
            plain = value.new_zeros(rows * (tokens - 1)).scatter(0, layout.scatter, value[0][layout.source])
            setattr(output, name, plain.view(rows, tokens - 1))
    return output
