"""Validation during training and checkpoint selection: tasks that are not trained on, sampled every so many steps.

The tasks are those of the dataset's `validation` split, not those for test: a checkpoint chosen by these would make the
evaluation flatter itself. Writes entries to Trainer's log (so trackers get them) and the selected weights to
`training/selected/`, and stops the training when it no longer gets better. Selected are the latest weights within one
standard error of the best: a few completions less of a few dozen are no reason to throw a round away. What is compared
is the rate of exact matches, or, of tasks that know no right answer, the pass rate. The main process samples; a model
that is sharded over processes cannot be sampled here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list, is_peft_model
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from trl.trainer.utils import use_adapter

from pipelines.config import SamplingConfig, ValidationConfig
from pipelines.errors import ConfigError
from pipelines.models import Continuation, mean_kl_nats, next_tokens, render_prompt
from pipelines.records import Message, Task
from pipelines.rewards.rates import rates
from pipelines.rewards.verifiers import Verifier, verify_json
from pipelines.run.files import new_folder
from pipelines.samples.drawing import seeded
from pipelines.samples.policies import LocalPolicy
from pipelines.training.weights import set_weights, trainable_weights

_WEIGHTS = "weights.safetensors"
_ROWS_FOR_KL = 8


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """A task and the conversation that asks for it."""

    task: Task
    messages: tuple[Message, ...]
    verifier: Verifier = verify_json


class Validation(TrainerCallback):  # type: ignore[misc]
    """Measures at the start, every `every_steps` steps and at the end; not shortly before the end."""

    def __init__(self, questions: Sequence[Question], settings: ValidationConfig, seed: int, folder: Path) -> None:
        """`folder` is where the selected weights are put."""
        self._questions, self._settings, self._seed, self._folder = questions, settings, seed, folder
        self._trainer: Trainer | None = None

    def attach(self, trainer: Trainer) -> None:
        """Say which trainer's policy is to be measured; it is made with this callback, so it comes after it.

        ConfigError when it has nothing to measure the distance from.
        """
        if getattr(trainer, "ref_model", None) is None and not is_peft_model(trainer.model):
            raise ConfigError(
                "training.validation measures the distance from a reference that this training does not keep; set "
                "training.lora, leave precompute_ref_log_probs out, or set training.validation to null"
            )
        self._trainer = trainer

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Measure where training starts from, unless it is resumed."""
        if not measurements(state):
            self._measure(state, control)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Measure when it is time."""
        every, left = self._settings.every_steps, state.max_steps - state.global_step
        if left == 0 or (state.global_step % every == 0 and left >= every / 2):
            self._measure(state, control)

    def _measure(self, state: TrainerState, control: TrainerControl) -> None:
        trainer = self._trainer
        assert trainer is not None
        found: list[dict[str, Any] | None] = [None]
        if state.is_world_process_zero:
            found = [measure(trainer, self._questions, self._settings, self._seed)]
        broadcast_object_list(found, from_process=0)
        # Not TRL's own `log`, which would put this step's training metrics into this entry.
        known = {name: value for name, value in (found[0] or {}).items() if value is not None}
        Trainer.log(trainer, {f"validation/{name}": value for name, value in known.items()})
        if state.is_world_process_zero:
            print(f"  step {state.global_step}: {_shown(found[0] or {})}", flush=True)
            if selected_step(state) == state.global_step:
                with new_folder(self._folder) as folder:
                    save_file(trainable_weights(trainer.model), folder / _WEIGHTS, {"step": str(state.global_step)})
        patience = self._settings.patience
        if patience is not None and state.global_step and self._without_gain(state) >= patience:
            control.should_training_stop = True

    def _without_gain(self, state: TrainerState) -> int:
        """Measurements since the best one."""
        steps = [entry["step"] for entry in measurements(state)]
        return len(steps) - 1 - steps.index(best_step(state))

    def restore_selected(self, state: TrainerState) -> int:
        """Give the model the selected weights; returns their step."""
        trainer = self._trainer
        assert trainer is not None
        trainer.accelerator.wait_for_everyone()
        selected = selected_step(state)
        if selected != state.global_step:
            set_weights(trainer.model, load_file(self._folder / _WEIGHTS))
        return selected


def measurements(state: TrainerState) -> list[dict[str, Any]]:
    """The log's validations, in order."""
    return [entry for entry in state.log_history if "validation/pass_rate" in entry]


def compared(entry: dict[str, Any]) -> float:
    """The rate that a validation is compared by: of exact matches where tasks know a right answer."""
    exact = entry.get("validation/exact_match")
    return float(entry["validation/pass_rate"] if exact is None else exact)


def best_step(state: TrainerState) -> int:
    """The step of the best validation."""
    return int(best_measurement(state)["step"])


def best_measurement(state: TrainerState) -> dict[str, Any]:
    """The first with the highest rate; among equals, with the most that parses."""
    return max(measurements(state), key=lambda entry: (compared(entry), entry["validation/parses"]))


def selected_step(state: TrainerState) -> int:
    """The step of the selected weights."""
    return int(selected_measurement(state)["step"])


def selected_measurement(state: TrainerState) -> dict[str, Any]:
    """The latest whose rate is not below the best one's by more than a standard error of their difference.

    After the one-standard-error rule of Breiman, Friedman, Olshen and Stone (1984, section 3.4.3), completions taken as
    independent; of training that goes on getting better the latest weights are the ones to expect most of.
    """
    best = best_measurement(state)
    return next(
        entry
        for entry in reversed(measurements(state))
        if compared(best) - compared(entry) <= math.hypot(_error(best), _error(entry))
    )


def _error(entry: dict[str, Any]) -> float:
    """The standard error of a validation's rate."""
    rate = compared(entry)
    return math.sqrt(rate * (1 - rate) / entry["validation/completions"])


def measure(
    trainer: Trainer, questions: Sequence[Question], settings: ValidationConfig, seed: int
) -> dict[str, float | None]:
    """Rates in [0, 1] (None where undefined), mean length in tokens, KL from the reference in nats per token."""
    model = _plain(trainer.accelerator.unwrap_model(trainer.model))
    tokenizer: PreTrainedTokenizerBase = trainer.processing_class
    sampling = SamplingConfig(
        samples_per_task=settings.samples_per_task, max_new_tokens=settings.max_new_tokens, few_shot=0
    )
    indices = range(settings.samples_per_task)
    conversations = [seeded(one.messages, seed, one.task.id, indices) for one in questions]
    verdicts, continuations = [], []
    was_training = model.training
    model.eval()
    for index, answers in LocalPolicy(model, tokenizer).complete(conversations, sampling):
        prompt = tuple(render_prompt(tokenizer, list(conversations[index].messages)))
        one = questions[index]
        verdicts += one.verifier(one.task, one.messages, [(answer.text, answer.finish_reason) for answer in answers])
        continuations += [Continuation(prompt, answer.tokens or ()) for answer in answers]
    # Two forward passes over every row would cost more than drawing them: the first completions of some tasks stand in.
    firsts = continuations[:: settings.samples_per_task]
    some = firsts[:: math.ceil(len(firsts) / _ROWS_FOR_KL)]
    kl = mean_kl_nats(some, lambda rows: next_tokens(model, rows), lambda rows: _reference(trainer, rows))
    model.train(was_training)
    count = len(verdicts)
    return {
        **{name: rate.rate for name, rate in rates(verdicts).items()},
        "mean_tokens": sum(len(one.completion) for one in continuations) / count,
        "stop_rate": sum(one.finish_reason == "stop" for one in verdicts) / count,
        "kl_nats_per_token": kl,
        "completions": count,
    }


def _reference(trainer: Trainer, continuations: Sequence[Continuation]) -> torch.Tensor:
    with _reference_model(trainer) as model:
        return next_tokens(model, continuations)


@contextlib.contextmanager
def _reference_model(trainer: Trainer) -> Iterator[PreTrainedModel]:
    """What TRL measures the policy against: the model without its adapter, the adapter it started from, or a copy."""
    model = trainer.accelerator.unwrap_model(trainer.model)
    if getattr(trainer, "ref_model", None) is not None:
        yield trainer.accelerator.unwrap_model(trainer.ref_model)
    else:
        with use_adapter(model, "ref" if "ref" in model.peft_config else None):
            yield _plain(model)


def _plain(model: PreTrainedModel | PeftModel) -> PreTrainedModel:
    return model.get_base_model() if is_peft_model(model) else model


def _shown(values: dict[str, Any]) -> str:
    exact = values["exact_match"]
    right = f"{values['pass_rate']:.0%} pass" if exact is None else f"{exact:.0%} exact match"
    return (
        f"validation {values['parses']:.0%} parse, {right}, {values['mean_tokens']:.0f} tokens, "
        f"{values['kl_nats_per_token']:.3f} nats a token from the reference"
    )
