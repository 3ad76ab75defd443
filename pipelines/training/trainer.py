"""TRL's DPO and KTO trainers with two things added: completions that were cut off stay open, and DPO computes every
distinct prefix of a batch once.

Everything else, arguments, losses, metrics, callbacks, is TRL's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from datasets import Dataset
from trl import DPOTrainer, KTOTrainer

from pipelines.models import closing_token, turn_end
from pipelines.training.prefix_sharing import share_prefixes

FINISH_REASONS = {
    "chosen_finish_reason": "chosen_ids",
    "rejected_finish_reason": "rejected_ids",
    "finish_reason": "completion_ids",
}
"""Optional column of a dataset, `stop` or `length` per row → the ids of the completion that it speaks of."""


class _LeavesCutOffOpen:
    """Leaves out the end of turn of a completion that never wrote one.

    TRL closes every completion with the chat template's end of turn. Of one that the token limit cut off that would
    teach the policy to end there (preferred), or push down its ending at all (not preferred).
    """

    def _prepare_dataset(self, dataset: Any, processing_class: Any, *args: Any, **kwargs: Any) -> Any:
        prepared = super()._prepare_dataset(dataset, processing_class, *args, **kwargs)  # type: ignore[misc]
        known = [name for name in FINISH_REASONS if name in (prepared.column_names or ())]
        if not known:
            return prepared
        end, closing = turn_end(processing_class), closing_token(processing_class)

        def leave_open(row: Mapping[str, Any]) -> dict[str, Any]:
            ids = {FINISH_REASONS[name]: row[FINISH_REASONS[name]] for name in known}
            cut = {FINISH_REASONS[name] for name in known if row[name] == "length"}
            return {name: without_end(row, end, closing) if name in cut else row for name, row in ids.items()}

        return prepared.map(leave_open).remove_columns(known)


def without_end(ids: list[int], end: list[int], closing: int | None) -> list[int]:
    """A completion's ids without the end of turn behind them, at least without the token that closes it.

    A tokenizer may have joined the completion's last character and the first one behind it.
    """
    if ids[-len(end) :] == end:
        return ids[: -len(end)]
    return ids[: ids.index(closing, -len(end))] if closing in ids[-len(end) :] else ids


class OpenEndedDPOTrainer(_LeavesCutOffOpen, DPOTrainer):
    """DPO on pairs, with `chosen_finish_reason` and `rejected_finish_reason` where the rows have them."""


class OpenEndedKTOTrainer(_LeavesCutOffOpen, KTOTrainer):
    """KTO on single completions, with `finish_reason` where the rows have it."""


class PrefixSharingDPOTrainer(OpenEndedDPOTrainer):
    """Computes every distinct prefix of a batch once, for the policy and for the reference."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._shares = False
        super().__init__(*args, **kwargs)
        self._share()

    def _share(self) -> None:
        # TRL gives the models their fused head while it is constructed; the sharing goes on top of it, once.
        if not self._shares:
            share_prefixes(self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model)
            if self.ref_model is not None:
                share_prefixes(self.accelerator.unwrap_model(self.ref_model))
            self._shares = True

    def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Dataset:
        self._share()
        return super()._precompute_ref_logps(dataset, name, batch_size)
