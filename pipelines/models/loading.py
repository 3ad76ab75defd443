"""The only `from_pretrained` in the house: `bundled` and the like, a local folder or a Hub id, to model and tokenizer.

Loads safetensors only, runs no code from a model's repository unless told to, and goes to the network only for a Hub id
that is not cached (`HF_HUB_OFFLINE=1` forbids even that). What cannot be loaded is one line that says what to install
or download.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from pipelines.config import ModelConfig
from pipelines.errors import ModelError, nearest
from pipelines.models.bundled import CARRIED, carried_folder
from pipelines.models.chat import end_tokens
from pipelines.run.files import file_sha256

_READ_BESIDE_WEIGHTS = (".json", ".jinja", ".model", ".txt")
"""Config, tokenizer, chat template."""
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_model(name: str | ModelConfig, *, to_device: bool = True) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model in evaluation mode, and its tokenizer.

    `name` is one of `CARRIED`, a folder, a Hub id, or a whole `ModelConfig`. With `to_device=False` the weights stay on
    the CPU, where a trainer picks them up. Raises ModelError.
    """
    config = ModelConfig(name=name) if isinstance(name, str) else name
    source = _source(config)
    tokenizer = _tokenizer(config, source)
    device = _device(config.device)
    settings = {} if config.quantization is None else {"quantization_config": _quantization(config.quantization)}
    model = _from_pretrained(
        AutoModelForCausalLM, config, source, dtype=wanted_dtype(config), use_safetensors=True, **settings
    )
    if tokenizer.pad_token_id is not None:
        model.config.pad_token_id = model.generation_config.pad_token_id = tokenizer.pad_token_id
    ends = end_tokens(model, tokenizer)
    if len(ends) > 1:  # so that an exported model ends where it was trained to, and TRL's GRPO knows it
        model.generation_config.eos_token_id = list(ends)
    model = model.eval().to(device) if to_device else model.eval()
    return model, tokenizer


def wanted_dtype(config: ModelConfig) -> torch.dtype:
    """The dtype of the weights; `auto` is bfloat16 on a GPU and float32 elsewhere."""
    on_gpu = _device(config.device).type == "cuda"
    return _DTYPES.get(config.dtype) or (torch.bfloat16 if on_gpu else torch.float32)


def _quantization(settings: dict[str, Any]) -> BitsAndBytesConfig:
    """Settings of `model.quantization` as the library's own class; ModelError when they or the library do not serve."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ModelError("model.quantization needs bitsandbytes; `pip install bitsandbytes`, or leave it out")
    known = inspect.signature(BitsAndBytesConfig).parameters
    unknown = [name for name in settings if name not in known]
    if unknown:
        raise ModelError(
            f"unknown key {unknown[0]!r} in model.quantization; did you mean {nearest(unknown[0], known)!r}?"
        )
    try:
        return BitsAndBytesConfig(**settings)
    except (TypeError, ValueError) as error:
        raise ModelError(f"model.quantization: {error}; fix the section (BitsAndBytesConfig refused it)") from error


def load_tokenizer(name: str | ModelConfig) -> PreTrainedTokenizerBase:
    """The tokenizer alone. A tokenizer without a padding token pads with its end token. Raises ModelError."""
    config = ModelConfig(name=name) if isinstance(name, str) else name
    return _tokenizer(config, _source(config))


def _tokenizer(config: ModelConfig, source: str) -> PreTrainedTokenizerBase:
    tokenizer: PreTrainedTokenizerBase = _from_pretrained(AutoTokenizer, config, source)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def model_identity(config: ModelConfig) -> dict[str, Any]:
    """What names the policy for good: id, revision, for a folder hashes of its weights and of the files beside them.

    A Hub id without a revision names whatever its main branch holds.
    """
    identity: dict[str, Any] = {"name": config.name, "revision": config.revision}
    folder = Path(_source(config))
    if folder.is_dir():
        identity["sha256"] = _hash(folder.glob("*.safetensors"))
        beside = (file for suffix in _READ_BESIDE_WEIGHTS for file in folder.glob(f"*{suffix}"))
        identity["configuration_sha256"] = _hash(beside)
    return identity


def _hash(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(f"{file.name} {file_sha256(file)}\n".encode())
    return digest.hexdigest()


def _source(config: ModelConfig) -> str:
    """Where the files are. Asked once per load: for the bundled model it reads and checks half a gigabyte."""
    carried = CARRIED.get(config.name)
    return config.name if carried is None else str(carried_folder(carried))


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)  # a device of a known kind may still not be there
        return device
    except (RuntimeError, AssertionError) as error:
        raise ModelError(f"model.device must be auto or a torch device, got {name!r}; e.g. cpu or cuda:0") from error


def _from_pretrained(kind: Any, config: ModelConfig, source: str, **settings: Any) -> Any:
    try:
        return kind.from_pretrained(
            source, revision=config.revision or "main", trust_remote_code=config.trust_remote_code, **settings
        )
    except (OSError, ValueError, ImportError, SafetensorError) as error:
        first_line = str(error).strip().splitlines()[0]
        if Path(source).is_dir():
            advice = "the folder must hold config.json, *.safetensors and a tokenizer"
        else:
            advice = f"use {', '.join(CARRIED)}, a folder, or download it with `hf download {source}`"
        raise ModelError(f"model {config.name!r} cannot be loaded ({first_line}); {advice}") from error
