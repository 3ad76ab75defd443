"""Warnings in words while training goes on: what curves would show to somebody who looked at them.

Reads Trainer's log as it grows; prints sentences, each once. All is read from the log, so a resumed training warns as
an uninterrupted one does.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from pipelines.config import AlertsConfig

_WINDOW = 10
"""Logged steps that a mean is taken over: a single batch says little."""


class Alerts(TrainerCallback):  # type: ignore[misc]
    """Prints each alert when it first holds, and keeps them in `said`."""

    def __init__(self, settings: AlertsConfig, beta: float, preferred_tokens: float | None) -> None:
        """`preferred_tokens`: mean length of the preferred completions, None where a method is given none."""
        self._settings, self._beta, self._preferred_tokens = settings, beta, preferred_tokens
        self.said: dict[str, str] = {}

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Look at the log so far."""
        if not state.is_world_process_zero:
            return
        for name, sentence in self._found(state.log_history):
            if name not in self.said:
                self.say(name, f"step {state.global_step}: {sentence}")

    def say(self, name: str, sentence: str) -> None:
        """Print a sentence and keep it."""
        self.said[name] = sentence
        print(f"  alert, {sentence}", flush=True)

    def _found(self, log: Sequence[dict[str, Any]]) -> Iterator[tuple[str, str]]:
        steps = [entry for entry in log if "rewards/chosen" in entry]
        recent = steps[-_WINDOW:]
        if len(recent) == _WINDOW and self._beta:
            # A reward is β times the log-ratio of policy and reference (Rafailov et al. 2023, arXiv 2305.18290).
            fall = -statistics.mean(entry["rewards/chosen"] for entry in recent) / self._beta
            if fall > self._settings.chosen_fall_nats:
                yield (
                    "chosen",
                    f"chosen completions have lost {fall:.1f} nats on average; add `sft` to training.dpo.loss_type, or "
                    "lower the learning rate",
                )
        ranked = steps[-self._settings.ranked_right_steps :]
        if len(ranked) == self._settings.ranked_right_steps and all(
            entry["rewards/accuracies"] == 1 for entry in ranked
        ):
            yield (
                "ranked",
                f"every pair of the last {len(ranked)} steps is ranked right; more steps only widen margins: stop, or "
                "draw new pairs with `rounds`",
            )
        measured = [entry["validation/mean_tokens"] for entry in log if entry.get("validation/mean_tokens")]
        if len(measured) > 1 and self._preferred_tokens:
            ratio = measured[-1] / self._preferred_tokens
            if not 1 / self._settings.length_ratio <= ratio <= self._settings.length_ratio:
                yield (
                    "length",
                    f"validation completions have {measured[-1]:.0f} tokens on average, {ratio:.1f} times as many as "
                    "the preferred ones",
                )
