"""Sections of the config into the libraries' own classes: TRL's of the chosen method, and `peft.LoraConfig`.

Keys and values are checked by those classes; a mistake comes back as one line that names the key. What the run folder
decides (output folder, seed) and what the machine decides (CPU, bfloat16) is set here and may not be set in YAML.
"""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path
from typing import Any, TypeAlias

import peft
import torch
import trl

from pipelines.config import ModelConfig, TrainingConfig
from pipelines.errors import ConfigError, nearest

TrainerConfig: TypeAlias = "trl.DPOConfig | trl.SFTConfig | trl.KTOConfig | trl.GRPOConfig"
_KINDS = {"dpo": trl.DPOConfig, "sft": trl.SFTConfig, "kto": trl.KTOConfig, "grpo": trl.GRPOConfig}
_OURS = ("output_dir", "seed", "data_seed", "use_cpu")


def trainer_arguments(training: TrainingConfig, model: ModelConfig, folder: Path, seed: int) -> TrainerConfig:
    """The method's section as TRL's config, with the run's folder and seed; ConfigError names a bad key or value."""
    kind, where = _KINDS[training.method], f"training.{training.method}"
    section: dict[str, Any] = getattr(training, training.method)
    for name in _OURS:
        if name in section:
            raise ConfigError(f"{where}.{name} is decided by the run (--run, seed, model.device); leave it out")
    on_gpu = torch.cuda.is_available() and model.device != "cpu"
    defaults = {
        "report_to": "none",
        "disable_tqdm": True,
        "logging_steps": 1,
        "save_steps": 20,
        "save_total_limit": 2,
        "bf16": on_gpu and model.dtype in ("auto", "bfloat16"),
    }
    values = {**defaults, **section}
    _check_keys(kind, section, where)
    made = _construct(kind, {**values, "output_dir": str(folder), "seed": seed, "use_cpu": not on_gpu}, where)
    if made.eval_strategy != "no":
        raise ConfigError(
            f"{where}.eval_strategy must be 'no', got {section['eval_strategy']!r}: training is given no evaluation "
            "set; leave it out, and set training.validation to have tasks measured on the way"
        )
    return made


def lora_arguments(training: TrainingConfig) -> peft.LoraConfig | None:
    """`training.lora` as peft's config; None when all weights are trained."""
    if training.lora is None:
        return None
    _check_keys(peft.LoraConfig, training.lora, "training.lora")
    return _construct(peft.LoraConfig, {"task_type": "CAUSAL_LM", **training.lora}, "training.lora")


def _check_keys(kind: type, section: dict[str, Any], where: str) -> None:
    known = {field.name: field for field in dataclasses.fields(kind)}
    for key, value in section.items():
        if key not in known:
            raise ConfigError(
                f"unknown key {key!r} in {where} ({kind.__name__}); did you mean {nearest(key, known)!r}?"
            )
        if isinstance(value, str) and _is_number(value):
            raise ConfigError(f"{where}.{key} must be a number, got the text {value!r}; take the quotes off")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _construct(kind: Any, values: dict[str, Any], where: str) -> Any:
    try:
        with warnings.catch_warnings():
            # TRL 1.16 still sets a name that transformers 5.23 has renamed; nothing a user could fix.
            warnings.filterwarnings("ignore", message="`gradient_checkpointing`", category=FutureWarning)
            return kind(**values)
    except (ValueError, TypeError, ImportError) as error:
        raise ConfigError(
            f"{where}: {str(error).splitlines()[0]}; fix the section ({kind.__name__} refused it)"
        ) from error
