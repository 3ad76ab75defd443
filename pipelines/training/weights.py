"""The weights that training changes: reading them, setting them, and the mean of those that the last steps left.

A mean over steps of a constant or slowly falling learning rate lies nearer to where they circle than the last of them
(Polyak & Juditsky 1992; for deep networks Izmailov et al. 2018, arXiv 1803.05407). TRL's own `BEMACallback` takes no
adapters. Weights that are sharded over processes have no mean here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from pipelines.training.checkpoints import written_checkpoint

_FILE = "average.safetensors"


def trainable_weights(model: nn.Module) -> dict[str, Tensor]:
    """Name → the weights that training changes, of the model itself or of one wrapped for several processes."""
    return {
        name.removeprefix("module."): value.detach() for name, value in model.named_parameters() if value.requires_grad
    }


@torch.no_grad()
def set_weights(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Give the model the values of all its trainable weights."""
    for name, value in trainable_weights(model).items():
        value.copy_(weights[name])


class AverageWeights(TrainerCallback):  # type: ignore[misc]
    """With the last step gives the model the mean of its weights after each step past a share of them.

    Training that stops before its last step keeps its weights as they are. The mean is kept in float32, and in every
    checkpoint. Must come before what measures or seals.
    """

    def __init__(self, start: float) -> None:
        """`start` is the share in [0, 1) of the steps that have no part in the mean."""
        self._start = start
        self._mean: dict[str, Tensor] = {}
        self.steps = 0
        """Steps in the mean so far."""

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: nn.Module, **kwargs: Any
    ) -> None:
        """Take the step's weights in; at the last step, hand the mean over."""
        if int(self._start * state.max_steps) < state.global_step <= state.max_steps:
            self.steps += 1
            for name, value in trainable_weights(model).items():
                if self.steps == 1:
                    self._mean[name] = value.float().clone(memory_format=torch.contiguous_format)
                else:
                    self._mean[name].lerp_(value.float(), 1 / self.steps)
        # Beyond: resumed from its very last checkpoint within an epoch, Trainer takes one step more.
        if state.global_step >= state.max_steps:
            set_weights(model, self._mean)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Keep the mean in the checkpoint."""
        if state.is_world_process_zero and self._mean:
            save_file(self._mean, written_checkpoint(args, state) / _FILE, {"steps": str(self.steps)})

    def resume(self, checkpoint: Path, model: nn.Module) -> None:
        """Go on from the mean in a checkpoint, if it holds one."""
        if (checkpoint / _FILE).exists():
            own = trainable_weights(model)
            with safe_open(checkpoint / _FILE, framework="pt") as file:
                self.steps = int(file.metadata()["steps"])
                self._mean = {name: file.get_tensor(name).to(own[name].device) for name in file.keys()}  # noqa: SIM118
