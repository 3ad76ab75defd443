"""The run folder: where each artefact lives, writes that are whole or absent, and the manifest of what was done.

Takes a folder and a config; leaves `config.yaml`, `manifest.json` and the stages' artefacts. A stage is done when the
manifest says so and every file it read and wrote still has the hash it had then; anything else is made again. Knows
paths, bytes and hashes, not what is in them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from pipelines.config import Config, config_to_dict, load_config
from pipelines.errors import RunError
from pipelines.provenance import provenance


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that readers see all of it or none of it, also after a crash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """`write_bytes` for text, as UTF-8."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """`write_text` for a JSON value, indented, keys in the order given, never NaN."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path` that takes its place when the block ends well, and vanishes when it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield temporary
        temporary.chmod(0o755)
        # The old folder is set aside first, so that a kill between the two steps loses neither.
        aside = temporary.with_name(f"{temporary.name}.old")
        if path.exists():
            path.replace(aside)
        temporary.replace(path)
        shutil.rmtree(aside, ignore_errors=True)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def hash_files(root: Path, names: Sequence[str]) -> dict[str, str] | None:
    """Relative path → SHA-256 for files and whole folders under `root`; None when one of them is missing."""
    hashes: dict[str, str] = {}
    for name in names:
        path = root / name
        files = sorted(item for item in path.rglob("*") if item.is_file()) if path.is_dir() else [path]
        if not files or not all(file.is_file() for file in files):
            return None
        hashes |= {file.relative_to(root).as_posix(): file_sha256(file) for file in files}
    return hashes


@dataclasses.dataclass(frozen=True)
class RunDir:
    """One run's folder. Make it with `RunDir.open`, or `RunDir(path)` to read one that is there."""

    root: Path
    round: int = 1
    """Which round of sampling, judging, pairing and training is meant, from 1."""
    is_last_round: bool = True
    """The last round's artefacts are the run's own; those of earlier rounds are under `rounds/`."""

    @classmethod
    def open(cls, root: Path, config: Config) -> RunDir:
        """The run folder, made if need be; RunError when it belongs to another config or cannot be written."""
        run = cls(root)
        resolved = config_to_dict(config)
        try:
            root.mkdir(parents=True, exist_ok=True)
            if run.config_file.exists():
                run._refuse_other(resolved)
            elif any(root.iterdir()):
                raise RunError(f"{root} holds files but no config.yaml; name an empty or new folder with --run")
            else:
                write_text(run.config_file, yaml.safe_dump(resolved, sort_keys=False))
        except OSError as error:
            raise RunError(f"{root}: cannot be written ({error.strerror}); name another folder with --run") from error
        return run

    def _refuse_other(self, resolved: dict[str, Any]) -> None:
        # Read as a config: a key that a newer version added has its default in an older run.
        stored = config_to_dict(load_config(self.config_file))
        differing = _first_difference(stored, resolved, "")
        if differing:
            raise RunError(
                f"{self.root} was made with another config ({differing}); name another folder with --run, "
                "or delete this one"
            )

    @property
    def config_file(self) -> Path:
        """The resolved config that every stage of the run used."""
        return self.root / "config.yaml"

    @property
    def manifest_file(self) -> Path:
        """Versions, model, seeds, and for each stage its timing and hashes."""
        return self.root / "manifest.json"

    def in_round(self, number: int, rounds: int) -> RunDir:
        """The same run with the artefacts of one round of so many."""
        return dataclasses.replace(self, round=number, is_last_round=number == rounds)

    @property
    def folder(self) -> Path:
        """Where the round's own artefacts are."""
        return self.root if self.is_last_round else self.root / "rounds" / str(self.round)

    @property
    def initial_adapter(self) -> Path | None:
        """What the round before left, to sample from and to train on; None in the first round."""
        if self.round == 1:
            return None
        adapter = self.root / "rounds" / str(self.round - 1) / "adapter"
        return self.require(adapter, f"train_dpo.py --round {self.round - 1}")

    @property
    def attention(self) -> Path:
        """Attention maps: `before.*`, and `after.*` once there is an adapter."""
        return self.root / "attention"

    @property
    def tasks_file(self) -> Path:
        """Every task of the run with its split, as JSON lines."""
        return self.root / "samples" / "tasks.jsonl"

    @property
    def handout_file(self) -> Path:
        """The run's own copy of the handout."""
        return self.root / "samples" / "handout.yaml"

    @property
    def journal(self) -> Path:
        """Training completions as they were drawn, a file per process, with the settings of each batch."""
        return self.folder / "samples" / "journal"

    @property
    def completions_file(self) -> Path:
        """Every training completion, as JSON lines."""
        return self.folder / "samples" / "completions.jsonl"

    @property
    def verdicts_file(self) -> Path:
        """One verdict per line of `completions_file`, in its order."""
        return self.folder / "samples" / "verdicts.jsonl"

    @property
    def dataset(self) -> Path:
        """The Hugging Face dataset: configs `samples`, `pairs` and `kto`, and its card."""
        return self.folder / "dataset"

    @property
    def earlier_datasets(self) -> list[Path]:
        """Those of the rounds before, the latest first."""
        return [self.root / "rounds" / str(number) / "dataset" for number in range(self.round - 1, 0, -1)]

    @property
    def rehearsal_file(self) -> Path:
        """The base model's answers to ordinary requests that training goes over."""
        return self.root / "samples" / "rehearsal.json"

    @property
    def labels(self) -> Path:
        """One file of labels per labeler, and how well they agree."""
        return self.root / "labels"

    @property
    def adapter(self) -> Path:
        """The trained adapter (or the whole model when all weights are trained)."""
        return self.folder / "adapter"

    @property
    def training(self) -> Path:
        """The trainer's log and checkpoints."""
        return self.folder / "training"

    @property
    def evaluation(self) -> Path:
        """Held-out completions and their verdicts, before and after."""
        return self.root / "evaluation"

    @property
    def metrics_file(self) -> Path:
        """Held-out rates before and after."""
        return self.root / "metrics.json"

    @property
    def report_file(self) -> Path:
        """The page."""
        return self.root / "report.html"

    def require(self, path: Path, script: str) -> Path:
        """`path` if it exists; RunError naming the script that makes it if not."""
        if not path.exists():
            raise RunError(
                f"{path} is missing; run scripts/{script} --config {self.config_file} --run {self.root} first"
            )
        return path

    def manifest(self) -> dict[str, Any]:
        """The manifest so far, empty before the first stage."""
        if not self.manifest_file.exists():
            return {}
        try:
            manifest = json.loads(self.manifest_file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise RunError(f"{self.manifest_file}: not JSON ({error}); delete it to run every stage again") from error
        if not isinstance(manifest, dict):
            raise RunError(f"{self.manifest_file}: not a manifest; delete it to run every stage again")
        return manifest

    def record(self, **entries: Any) -> None:
        """Put entries at the top level of the manifest, versions and machine beside them."""
        write_json(self.manifest_file, {**self.manifest(), **provenance(), **entries})

    def record_stage(self, name: str, facts: dict[str, Any], inputs: Sequence[str], outputs: Sequence[str]) -> None:
        """Note a finished stage: its facts (timings, counts) and the hashes of what it read and wrote."""
        hashes = {"inputs": hash_files(self.root, inputs), "outputs": hash_files(self.root, outputs)}
        stages = self.manifest().get("stages", {})
        self.record(stages={**stages, name: {**facts, **hashes}})

    def is_done(self, name: str, inputs: Sequence[str], outputs: Sequence[str]) -> bool:
        """Whether the stage ran on these very inputs and left these very outputs."""
        stage = self.manifest().get("stages", {}).get(name)
        if not isinstance(stage, dict) or stage.get("outputs") is None:
            return False
        same_inputs = bool(stage.get("inputs") == hash_files(self.root, inputs))
        return same_inputs and bool(stage["outputs"] == hash_files(self.root, outputs))


def _first_difference(stored: Any, wanted: Any, where: str) -> str | None:
    """The first key at which two configs differ, with both values; None when they are equal."""
    if isinstance(stored, dict) and isinstance(wanted, dict):
        for key in [*wanted, *(key for key in stored if key not in wanted)]:
            dotted = f"{where}.{key}" if where else str(key)
            difference = _first_difference(stored.get(key), wanted.get(key), dotted)
            if difference:
                return difference
        return None
    return None if stored == wanted else f"{where} was {stored!r}, now {wanted!r}"
