"""TRL's DPOTrainer with shared prefixes. Everything else, arguments, losses, metrics, callbacks, is TRL's."""

from __future__ import annotations

from typing import Any

from datasets import Dataset
from trl import DPOTrainer

from pipelines.training.prefix_sharing import share_prefixes


class PrefixSharingDPOTrainer(DPOTrainer):
    """Computes each pair's prompt once, for the policy and for the reference."""

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
