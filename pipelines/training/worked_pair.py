"""One pair of the run with its log-probabilities, so that the update can be followed with real numbers.

Reads a trainer; returns sums of token log-probabilities in nats of the pair's two completions, under the policy as it
is and under the reference.
"""

from __future__ import annotations

from typing import Any

import torch
from datasets import Dataset
from trl import DPOTrainer

LogProbs = dict[str, float]


class WorkedPair:
    """The first pair of a DPO training, followed from before it to after its last step. Every process takes part."""

    def __init__(self, trainer: DPOTrainer, pairs: Dataset) -> None:
        """Before training: note what the policy says now."""
        self._trainer, self._pair = trainer, pairs[0]
        self._before = policy_log_probs(trainer)

    def describe(self) -> dict[str, Any]:
        """The pair, the loss's settings, and its log-probabilities before, now and under the reference."""
        trainer = self._trainer
        return {
            "prompt": self._pair["prompt"],
            "chosen": _text(self._pair["chosen"]),
            "rejected": _text(self._pair["rejected"]),
            "beta": trainer.beta,
            "loss_type": list(trainer.loss_types),
            "loss_weights": list(trainer.loss_weights),
            "reference": reference_log_probs(trainer),
            "before": self._before,
            "after": policy_log_probs(trainer),
        }


def policy_log_probs(trainer: DPOTrainer) -> LogProbs:
    """Of the first pair, under the policy's present weights."""
    model = trainer.model
    inputs = _batch(trainer)
    labels = inputs["input_ids"].masked_fill(inputs["completion_mask"] == 0, -100)
    was_training = model.training
    model.eval()
    with torch.no_grad(), trainer.accelerator.autocast():
        found = model(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            labels=labels,
            fused_lm_head=True,
            use_cache=False,
        ).log_probs.sum(-1)
    model.train(was_training)
    return _named(found)


def reference_log_probs(trainer: DPOTrainer) -> LogProbs:
    """Of the first pair, under what TRL measures the policy against."""
    row = trainer.train_dataset[0]
    if "ref_chosen_logps" in row:
        return {"chosen_logp": float(row["ref_chosen_logps"]), "rejected_logp": float(row["ref_rejected_logps"])}
    model = trainer.ref_model if trainer.ref_model is not None else trainer.model
    return _named(torch.cat(trainer.compute_ref_log_probs(model, _batch(trainer))))


def _batch(trainer: DPOTrainer) -> dict[str, torch.Tensor]:
    names = ("prompt_ids", "chosen_ids", "rejected_ids")
    row = trainer.train_dataset[0]
    batch = trainer.data_collator([{name: row[name] for name in names}])
    return {name: value.to(trainer.accelerator.device) for name, value in batch.items()}


def _named(values: torch.Tensor) -> LogProbs:
    return {"chosen_logp": float(values[0]), "rejected_logp": float(values[1])}


def _text(side: Any) -> str:
    return str(side) if isinstance(side, str) else str(side[-1]["content"])
