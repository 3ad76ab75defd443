"""The update: the run's dataset into one of TRL's trainers. Load, check, train, verify, save.

Reads a round's dataset and config; writes its `adapter/` (safetensors, loads with peft), `training/log.json` and, for
DPO, `training/worked_pair.json`. Runs once in every process that `accelerate launch` starts; only the first one writes
the artefacts. Killed, the same command goes on from the last whole checkpoint. What must hold of the update is checked:
base weights unchanged to the bit, every trainable parameter moved.
"""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import time
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer, TrainerState
from trl import DPOTrainer, GRPOTrainer

from pipelines.config import Config, config_to_dict
from pipelines.models import adapter_identity, closing_token, load_trainable, model_identity, silence_peft_warning
from pipelines.run.files import new_folder, write_json
from pipelines.run.folder import Round
from pipelines.run.processes import is_main_process, process_group
from pipelines.training.alerts import Alerts
from pipelines.training.arguments import TrainerConfig, lora_arguments, trainer_arguments
from pipelines.training.checkpoints import SealCheckpoints, fingerprint, last_checkpoint
from pipelines.training.methods import build_trainer, is_sharded, training_rows
from pipelines.training.pairs import load_questions, load_table
from pipelines.training.progress import ProgressLine
from pipelines.training.rehearsal import with_rehearsal
from pipelines.training.trainer import PrefixSharingDPOTrainer
from pipelines.training.validation import Validation, measurements, selected_measurement
from pipelines.training.weights import AverageWeights, trainable_weights
from pipelines.training.worked_pair import WorkedPair

_NOT_FOR_ADAPTER = ("training_args.bin",)
"""What Trainer saves beside the weights: a pickle, which nobody should have to load."""
_ROWS_AT_A_TIME = 1024


def train_policy(config: Config, run: Round) -> dict[str, Any]:
    """Train the policy on the run's dataset by the config's method; returns what the manifest should say of it."""
    arguments = _checked_arguments(config, run)
    silence_peft_warning()
    state = process_group()
    table, replayed = load_table(config, run)
    verified = training_rows(config, table)
    rows, rehearsed = with_rehearsal(config, run.run, verified, state)
    policy = _load(config, run)
    training = _fingerprint(config, run, rows)
    alerts = _alerts(config, arguments, verified, policy[1])
    validation, averaging = _validation(config, run), _averaging(config)
    callbacks = [ProgressLine(), alerts, *filter(None, (averaging, validation)), SealCheckpoints(training)]
    trainer = build_trainer(config, arguments, policy, rows, callbacks, _reference(config, run, arguments))
    if validation:
        validation.attach(trainer)
    started = time.monotonic()
    checkpoint = last_checkpoint(run.training, training, state)
    if averaging and checkpoint:
        averaging.resume(checkpoint, trainer.model)
    before = _snapshot(trainer.model)
    shown = WorkedPair(trainer, rows) if isinstance(trainer, DPOTrainer) else None
    result = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    seconds = time.monotonic() - started
    update = _compare(before, trainer.model, is_sharded=is_sharded(trainer))
    worked = shown.describe() if shown else None
    selected = validation.restore_selected(trainer.state) if validation else None
    trainer.save_model(str(run.training / "final"))
    state.wait_for_everyone()
    if state.is_main_process:
        _write(run, trainer, worked)
    return {
        "method": config.training.method,
        "pairs": len(verified),
        "replayed_pairs": replayed,
        "rehearsed_rows": rehearsed,
        "steps": result.global_step,
        "resumed_from_step": int(checkpoint.name.rpartition("-")[2]) if checkpoint else None,
        "selected_step": selected,
        "averaged_steps": averaging.steps if averaging and _is_last(trainer.state, selected) else None,
        "validation": _ends(trainer),
        "alerts": list(alerts.said.values()),
        "processes": state.num_processes,
        "prefix_sharing": isinstance(trainer, PrefixSharingDPOTrainer),
        "training_seconds": round(seconds, 1),
        "seconds_per_step": round(seconds / max(1, result.global_step), 2),
        "sampled_tokens": _sampled_tokens(trainer),
        "trainable_parameters": sum(value.numel() for value in trainer.model.parameters() if value.requires_grad),
        **update,
    }


def _checked_arguments(config: Config, run: Round) -> TrainerConfig:
    """The trainer's settings; they and peft's are checked before anything is loaded."""
    arguments = trainer_arguments(config.training, config.model, run.training, config.seed)
    lora_arguments(config.training)
    return arguments


def _load(config: Config, run: Round) -> tuple[PreTrainedModel | PeftModel, PreTrainedTokenizerBase]:
    """What training starts from. Weights that are trained themselves are float32: in bfloat16 small steps vanish."""
    whole = config.training.lora is None and config.model.dtype == "auto"
    model = dataclasses.replace(config.model, dtype="float32") if whole else config.model
    return load_trainable(model, run.initial_adapter)


def _reference(config: Config, run: Round, arguments: TrainerConfig) -> PreTrainedModel | None:
    """Of a training of all weights, a second copy of what it starts from: TRL would load the model's main revision."""
    measures = config.training.method in ("dpo", "kto") and config.training.lora is None
    return None if not measures or arguments.precompute_ref_log_probs else _load(config, run)[0]


def _fingerprint(config: Config, run: Round, rows: Dataset) -> str:
    """What a checkpoint must have been made with to go on from it."""
    identity = model_identity(config.model)
    if run.initial_adapter:
        identity["adapter"] = adapter_identity(run.initial_adapter)["sha256"]
    tree = config_to_dict(config)
    return fingerprint(rows, identity, {"seed": config.seed, "training": tree["training"]})


def _validation(config: Config, run: Round) -> Validation | None:
    settings = config.training.validation
    if settings is None:
        return None
    return Validation(load_questions(config, run), settings, config.seed, run.training / "selected")


def _averaging(config: Config) -> AverageWeights | None:
    start = config.training.average_from
    return None if start is None else AverageWeights(start)


def _alerts(config: Config, arguments: TrainerConfig, rows: Dataset, tokenizer: PreTrainedTokenizerBase) -> Alerts:
    """What warns, and the first warning: of conversations that no end token closes. Behind plain text TRL puts one."""
    preferred_tokens = _mean_tokens(rows, tokenizer)
    alerts = Alerts(config.training.alerts, getattr(arguments, "beta", 0.0), preferred_tokens)
    is_closed = isinstance(rows[0]["prompt"], str) or closing_token(tokenizer) is not None
    if preferred_tokens and not is_closed and is_main_process():
        alerts.say("end", "the chat template puts no end token after an answer, so none is learned; add one to it")
    return alerts


def _mean_tokens(rows: Dataset, tokenizer: PreTrainedTokenizerBase) -> float | None:
    """Mean length of the preferred completions, the end token included; None for a method that is given none."""
    preferred = {"chosen", "completion"} & set(rows.column_names)
    if not preferred:
        return None
    column = preferred.pop()
    tokens = count = 0
    for part in rows.iter(_ROWS_AT_A_TIME):
        labels = part.get("label", [True] * len(part[column]))
        sides = [side for side, label in zip(part[column], labels, strict=True) if label]
        texts = [side if isinstance(side, str) else side[-1]["content"] for side in sides]
        tokens += sum(len(ids) + 1 for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]) if texts else 0
        count += len(texts)
    return tokens / count if count else None


def _sampled_tokens(trainer: Trainer) -> int | None:
    """Completion tokens that the training itself drew; None for a method that draws none."""
    if not isinstance(trainer, GRPOTrainer):
        return None
    arguments = trainer.args
    generations = arguments.gradient_accumulation_steps / (arguments.steps_per_generation * trainer.num_iterations)
    lengths = [float(entry["completions/mean_length"]) for entry in trainer.state.log_history if "loss" in entry]
    return round(sum(lengths) * float(generations * arguments.generation_batch_size))


def _write(run: Round, trainer: Trainer, worked: dict[str, Any] | None) -> None:
    final = run.training / "final"
    with new_folder(run.adapter) as folder:
        shutil.copytree(final, folder, dirs_exist_ok=True)
        for name in _NOT_FOR_ADAPTER:
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder / "ref", ignore_errors=True)  # the frozen copy that TRL measures from in later rounds
    shutil.rmtree(final)
    write_json(run.training / "log.json", trainer.state.log_history)
    if worked:
        write_json(run.training / "worked_pair.json", worked)


def _is_last(state: TrainerState, selected: int | None) -> bool:
    """Whether the selected weights are those of the last step that was planned."""
    return bool(state.global_step >= state.max_steps and (selected is None or selected >= state.max_steps))


def _ends(trainer: Trainer) -> dict[str, Any] | None:
    """The first validation, and that of the selected weights."""
    entries = measurements(trainer.state)
    if not entries:
        return None
    return {"before": entries[0], "selected": selected_measurement(trainer.state)}


def _snapshot(model: nn.Module) -> tuple[dict[str, torch.Tensor], str]:
    """Copies of the trainable parameters, and a hash of the frozen ones."""
    return {name: value.clone() for name, value in trainable_weights(model).items()}, _frozen_hash(model)


def _frozen_hash(model: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, value in model.named_parameters():
        if not value.requires_grad:
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _compare(before: tuple[dict[str, torch.Tensor], str], model: nn.Module, *, is_sharded: bool) -> dict[str, Any]:
    """What moved and what did not. Shards of a distributed model cannot be compared here and say so with None."""
    if is_sharded:
        return {"base_unchanged": None, "parameters_moved": None}
    old, frozen = before
    now = trainable_weights(model)
    moved = sum(not torch.equal(value, now[name].to(value.device)) for name, value in old.items())
    return {"base_unchanged": _frozen_hash(model) == frozen, "parameters_moved": f"{moved} of {len(old)}"}
