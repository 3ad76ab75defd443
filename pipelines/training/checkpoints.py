"""Which checkpoint to go on from: the last that is whole and belongs to this very training.

Trainer writes a checkpoint file by file. When all are there, and all processes have written theirs, a seal with their
hashes and the training's fingerprint is put beside them; a checkpoint without a seal that fits was torn, or belongs to
other pairs, and is set aside. What Trainer loads of a checkpoint are safetensors, JSON and tensors (`weights_only`).
"""

from __future__ import annotations

import hashlib
import itertools
import json
from pathlib import Path
from typing import Any

from accelerate import PartialState
from datasets import Dataset
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from pipelines.run.files import hash_files, write_json

_SEAL = "seal.json"


def fingerprint(pairs: Dataset, identity: dict[str, Any], settings: dict[str, Any]) -> str:
    """A hash of all that decides the course of a training: its pairs in order, where it starts from, its settings."""
    digest = hashlib.sha256(json.dumps([identity, settings], sort_keys=True).encode())
    for row in pairs:
        digest.update(json.dumps(row, sort_keys=True).encode())
    return digest.hexdigest()


def written_checkpoint(args: TrainingArguments, state: TrainerState) -> Path:
    """The folder that Trainer has just written, as its `on_save` is called."""
    return Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"


class SealCheckpoints(TrainerCallback):  # type: ignore[misc]
    """Seals each checkpoint once every process has written its part."""

    def __init__(self, training: str) -> None:
        self._training = training

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Hash what was written and note it, atomically."""
        PartialState().wait_for_everyone()
        if state.is_world_process_zero:
            folder = written_checkpoint(args, state)
            write_json(folder / _SEAL, {"training": self._training, "files": _hashes(folder)})


def last_checkpoint(folder: Path, training: str, process: PartialState) -> Path | None:
    """The newest sealed checkpoint of this training; the main process says which others it sets aside, and why."""
    if process.is_main_process:
        for checkpoint in _by_step(folder):
            if reason := _unfit(checkpoint, training):
                aside = _set_aside(checkpoint)
                print(f"  {checkpoint.name} {reason}: set aside as {aside.name}", flush=True)
    process.wait_for_everyone()
    return next(iter(_by_step(folder)), None)


def _set_aside(checkpoint: Path) -> Path:
    """Give a checkpoint a name that nothing goes on from: hours of somebody's training are not ours to delete."""
    names = (checkpoint.with_name(f"stale-{number}-{checkpoint.name}") for number in itertools.count(1))
    aside = next(name for name in names if not name.exists())
    return checkpoint.rename(aside)


def _by_step(folder: Path) -> list[Path]:
    """The checkpoints in a folder, newest first."""
    found = [path for path in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*") if path.name.rpartition("-")[2].isdigit()]
    return sorted(found, key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)


def _unfit(checkpoint: Path, training: str) -> str | None:
    try:
        seal = json.loads((checkpoint / _SEAL).read_text(encoding="utf-8"))
        own, files = seal["training"], seal["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return "was being written when the training stopped"
    if own != training:
        return "is of another training"
    return None if files == _hashes(checkpoint) else "has been damaged since it was written"


def _hashes(checkpoint: Path) -> dict[str, str]:
    names = sorted(path.name for path in checkpoint.iterdir() if path.name != _SEAL)
    return hash_files(checkpoint, names) or {}
