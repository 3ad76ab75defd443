"""Training as people watch it: a line every tenth of the way, instead of a bar or a dict per step."""

from __future__ import annotations

import time
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class ProgressLine(TrainerCallback):
    """Prints step, loss, what the method calls its reward and the time left, on the main process only."""

    def __init__(self) -> None:
        self._started = 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the clock."""
        self._started = time.monotonic()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Print one line in ten, the first and the last."""
        if not state.is_world_process_zero or not logs or "loss" not in logs:
            return
        every = max(1, state.max_steps // 10)
        if state.global_step not in (1, state.max_steps) and state.global_step % every:
            return
        left = (time.monotonic() - self._started) / state.global_step * (state.max_steps - state.global_step)
        named = {"rewards/margins": "reward margin", "reward": "reward"}
        shown = [f"{name} {logs[key]:.2f}" for key, name in named.items() if key in logs]
        facts = ", ".join([f"loss {logs['loss']:.3f}", *shown, f"{left:.0f} s left"])
        print(f"  step {state.global_step}/{state.max_steps}: {facts}", flush=True)
