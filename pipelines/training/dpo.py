"""Preference pairs into TRL's DPOTrainer: load, check, train, verify, save.

Takes the run's `dataset/` and config; leaves `adapter/` (safetensors, loads with peft), `training/log.json` and
`training/worked_pair.json`. Runs once in every process that `accelerate launch` starts; only the first one writes the
artefacts. Killed, the same command goes on from the last whole checkpoint. What must hold of the update is checked, not
hoped for: pairs present, base weights unchanged to the bit, every trainable parameter moved.
"""

from __future__ import annotations

import hashlib
import shutil
import time
import warnings
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PrinterCallback, TrainerCallback
from trl import DPOConfig, DPOTrainer

from pipelines.config import Config, config_to_dict
from pipelines.errors import ConfigError
from pipelines.models import adapter_identity, load_trainable, model_identity
from pipelines.processes import process_group
from pipelines.rundir import RunDir, new_folder, write_json
from pipelines.training.alerts import Alerts
from pipelines.training.arguments import dpo_arguments, lora_arguments
from pipelines.training.checkpoints import SealCheckpoints, fingerprint, last_checkpoint
from pipelines.training.held_out import HeldOut, best_measurement, measurements
from pipelines.training.pairs import load_pairs, load_questions
from pipelines.training.prefix_sharing import supports_prefix_sharing
from pipelines.training.progress import ProgressLine
from pipelines.training.trainer import PrefixSharingDPOTrainer
from pipelines.training.worked_pair import describe, policy_log_probs

_NOT_FOR_ADAPTER = ("training_args.bin",)
"""What Trainer saves beside the weights: a pickle, which nobody should have to load."""
_SHOWN_PAIR = 0


def train_dpo(config: Config, run: RunDir) -> dict[str, Any]:
    """Train the policy on the run's pairs; returns what the manifest should say of it."""
    arguments = dpo_arguments(config.training, config.model, run.training, config.seed)
    lora_arguments(config.training)
    # TRL 1.16 still uses a name that transformers 5.23 has renamed; nothing a user could mend.
    warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`", category=FutureWarning)
    state = process_group()
    pairs = load_pairs(config, run)
    model, tokenizer = load_trainable(config.model, run.initial_adapter)
    training = _fingerprint(config, run, pairs)
    alerts = Alerts(config.training.alerts, arguments.beta, _mean_tokens(pairs, tokenizer))
    held_out = _held_out(config, run)
    callbacks = [ProgressLine(), alerts, SealCheckpoints(training), *([held_out] if held_out else [])]
    trainer = build_trainer(config, arguments, model, tokenizer, pairs, callbacks)
    if held_out:
        held_out.attach(trainer)
    started = time.monotonic()
    checkpoint = last_checkpoint(run.training, training, state)
    before, log_probs = _snapshot(trainer.model), policy_log_probs(trainer, _SHOWN_PAIR)
    result = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    seconds = time.monotonic() - started
    best = held_out.restore_best(trainer.state) if held_out else None
    update = _compare(before, trainer.model, is_sharded=_is_sharded(trainer))
    shown = describe(trainer, pairs, _SHOWN_PAIR, log_probs)
    trainer.save_model(str(run.training / "final"))
    state.wait_for_everyone()
    if state.is_main_process:
        _write(run, trainer, shown)
    return {
        "pairs": len(pairs),
        "steps": result.global_step,
        "resumed_from_step": int(checkpoint.name.rpartition("-")[2]) if checkpoint else None,
        "best_step": best,
        "held_out": _ends(trainer),
        "alerts": list(alerts.said.values()),
        "processes": state.num_processes,
        "prefix_sharing": isinstance(trainer, PrefixSharingDPOTrainer),
        "training_seconds": round(seconds, 1),
        "trainable_parameters": sum(value.numel() for value in trainer.model.parameters() if value.requires_grad),
        **update,
    }


def build_trainer(
    config: Config,
    arguments: DPOConfig,
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Dataset,
    callbacks: list[TrainerCallback],
) -> DPOTrainer:
    """TRL's trainer, with shared prefixes where the config and the model allow it."""
    is_adapted = isinstance(model, PeftModel)
    base = model.get_base_model() if is_adapted else model
    shares = config.training.prefix_sharing and supports_prefix_sharing(base)
    trainer = (PrefixSharingDPOTrainer if shares else DPOTrainer)(
        model=model,
        args=arguments,
        train_dataset=pairs,
        processing_class=tokenizer,
        peft_config=None if is_adapted else lora_arguments(config.training),
        callbacks=callbacks,
    )
    trainer.remove_callback(PrinterCallback)
    if config.training.held_out and _is_sharded(trainer):
        raise ConfigError("training.held_out must be null with FSDP or ZeRO, whose weights are in pieces; leave it out")
    return trainer


def _fingerprint(config: Config, run: RunDir, pairs: Dataset) -> str:
    """What a checkpoint must have been made with to go on from it."""
    identity = model_identity(config.model)
    if run.initial_adapter:
        identity["adapter"] = adapter_identity(run.initial_adapter)["sha256"]
    tree = config_to_dict(config)
    return fingerprint(pairs, identity, {"seed": config.seed, "training": tree["training"]})


def _held_out(config: Config, run: RunDir) -> HeldOut | None:
    settings = config.training.held_out
    if settings is None:
        return None
    return HeldOut(load_questions(config, run), settings, config.seed, run.training / "best")


def _mean_tokens(pairs: Dataset, tokenizer: PreTrainedTokenizerBase) -> float:
    """Mean length of the chosen completions, the end token included."""
    texts = [side if isinstance(side, str) else side[-1]["content"] for side in pairs["chosen"]]
    return sum(len(ids) + 1 for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]) / len(texts)


def _write(run: RunDir, trainer: DPOTrainer, shown: dict[str, Any]) -> None:
    final = run.training / "final"
    with new_folder(run.adapter) as folder:
        shutil.copytree(final, folder, dirs_exist_ok=True)
        for name in _NOT_FOR_ADAPTER:
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder / "ref", ignore_errors=True)  # the frozen copy that TRL measures from in later rounds
    shutil.rmtree(final)
    write_json(run.training / "log.json", trainer.state.log_history)
    write_json(run.training / "worked_pair.json", shown)


def _ends(trainer: DPOTrainer) -> dict[str, Any] | None:
    """The first and the best held-out measurement."""
    entries = measurements(trainer.state)
    if not entries:
        return None
    return {"before": entries[0], "best": best_measurement(trainer.state)}


def _is_sharded(trainer: DPOTrainer) -> bool:
    return bool(trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled)


def _snapshot(model: nn.Module) -> tuple[dict[str, torch.Tensor], str]:
    """Copies of the trainable parameters, and a hash of the frozen ones."""
    trainable = {name: value.detach().clone() for name, value in model.named_parameters() if value.requires_grad}
    return trainable, _frozen_hash(model)


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
    now = dict(model.named_parameters())
    moved = sum(not torch.equal(value, now[name].detach().to(value.device)) for name, value in old.items())
    return {"base_unchanged": _frozen_hash(model) == frozen, "parameters_moved": f"{moved} of {len(old)}"}
