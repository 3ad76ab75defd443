"""The run folder: where each artefact lives, and the manifest of what was done.

Reads a folder and a config; writes `config.yaml` and `manifest.json`. A stage is done when the manifest says so and
every file it read and wrote still has the hash it had then; anything else is made again. Rounds are all alike, each in
a folder of its own. Knows paths, bytes and hashes, not what is in them.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from pipelines.config import Config, config_to_dict, load_config
from pipelines.errors import RunError
from pipelines.records import Split, Task, iterate_lines, read_record
from pipelines.run.files import Stored, hash_files, write_json, write_text
from pipelines.run.provenance import provenance

if TYPE_CHECKING:
    from pipelines.run.stages import Stage

FORMAT = 2
"""Of the folder's layout. Folders of another one are refused, not guessed at."""


@dataclasses.dataclass(frozen=True)
class Run:
    """One run's folder. Make it with `Run.open`."""

    root: Path
    rounds: int = 1
    """How many times samples are drawn, paired and trained on."""

    @classmethod
    def open(cls, root: Path, config: Config) -> Run:
        """The run folder, made if need be; RunError when it belongs to another config or cannot be written."""
        run = cls(root, config.rounds)
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
        manifest = self.manifest()
        known = manifest.get("format") if manifest else FORMAT
        if known != FORMAT or (self.root / "samples").exists():
            raise RunError(
                f"{self.root} was made by another version, in a layout of its own; name another folder with --run"
            )
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

    @property
    def tasks_file(self) -> Path:
        """Every task of the run with its split, as JSON lines."""
        return self.root / "tasks.jsonl"

    @property
    def handout_file(self) -> Path:
        """The run's own copy of the handout."""
        return self.root / "handout.yaml"

    @property
    def attention(self) -> Path:
        """Attention maps: `before.*`, and `after.*` once there is an adapter."""
        return self.root / "attention"

    @property
    def rehearsal_file(self) -> Path:
        """The base model's answers to ordinary requests that training goes over."""
        return self.root / "rehearsal.json"

    @property
    def labels(self) -> Path:
        """One file of labels per labeler, and how well they agree."""
        return self.root / "labels"

    def evaluation(self, phase: str) -> Path:
        """The samples of the test tasks, `before` or `after` training: a store as a round's."""
        return self.root / "evaluation" / phase

    @property
    def chat_file(self) -> Path:
        """Answers to ordinary requests, before and after."""
        return self.root / "evaluation" / "chat.json"

    @property
    def metrics_file(self) -> Path:
        """Rates on test tasks, before and after."""
        return self.root / "metrics.json"

    @property
    def figures(self) -> Path:
        """The page's figures as files."""
        return self.root / "figures"

    @property
    def report_file(self) -> Path:
        """The page."""
        return self.root / "report.html"

    def round(self, number: int) -> Round:
        """One round's artefacts, counted from 1."""
        assert 1 <= number <= self.rounds
        return Round(run=self, number=number)

    @property
    def last(self) -> Round:
        """The last round, whose adapter is the run's."""
        return self.round(self.rounds)

    @property
    def every_round(self) -> list[Round]:
        """All rounds in order."""
        return [self.round(number) for number in range(1, self.rounds + 1)]

    def iterate_tasks(self, split: Split | None = None) -> Iterator[Task]:
        """The tasks of the run, or of one split, read one by one; RunError, at once, when they are not built."""
        file = self.require(self.tasks_file, "tasks")
        return (task for _, task in iterate_lines(Task, file) if split in (None, task.split))

    def index_tasks(self) -> Mapping[str, Task]:
        """The tasks of the run by id, each read when it is asked for; RunError when they are not built."""
        file = self.require(self.tasks_file, "tasks")
        places = {task.id: start for start, task in iterate_lines(Task, file)}
        return Stored(places, lambda start: read_record(Task, file, start))

    def require(self, path: Path, verb: str) -> Path:
        """`path` if it exists; RunError naming the command that makes it if not."""
        if not path.exists():
            raise RunError(
                f"{path} is missing; run `attend-and-prefer {verb} --config {self.config_file} --run {self.root}` first"
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
        write_json(self.manifest_file, {**self.manifest(), "format": FORMAT, **provenance(), **entries})

    def record_stage(self, stage: Stage, facts: dict[str, Any], **entries: Any) -> None:
        """Note a finished stage: its facts (timings, counts), the hashes of what it read and wrote, and `entries`."""
        hashes = {"inputs": self._hashes(stage.reads), "outputs": self._hashes(stage.writes)}
        stages = self.manifest().get("stages", {})
        self.record(stages={**stages, stage.name: {**facts, **hashes}}, **entries)

    def is_done(self, stage: Stage) -> bool:
        """Whether the stage ran on these very inputs and left these very outputs."""
        noted = self.manifest().get("stages", {}).get(stage.name)
        if not isinstance(noted, dict) or noted.get("outputs") is None:
            return False
        return bool(noted.get("inputs") == self._hashes(stage.reads)) and bool(
            noted["outputs"] == self._hashes(stage.writes)
        )

    def _hashes(self, paths: Sequence[Path]) -> dict[str, str] | None:
        return hash_files(self.root, [path.relative_to(self.root).as_posix() for path in paths])


@dataclasses.dataclass(frozen=True)
class Round:
    """What one round draws, pairs and trains."""

    run: Run
    number: int
    """From 1."""

    @property
    def folder(self) -> Path:
        """All of it."""
        return self.run.root / "rounds" / str(self.number)

    @property
    def samples(self) -> Path:
        """The store of its samples."""
        return self.folder / "samples"

    @property
    def dataset(self) -> Path:
        """The Hugging Face dataset: configs `samples`, `pairs` and `kto`, and its card.

        Its own name holds run and round: `datasets` caches a local folder by its last name, and would give back the
        rows of another run's.
        """
        made = next(iter(sorted(self.folder.glob(f"*-round-{self.number}"))), None)
        return made or self.folder / f"{self.run.root.resolve().name}-round-{self.number}"

    @property
    def adapter(self) -> Path:
        """The trained adapter (or the whole model when all weights are trained)."""
        return self.folder / "adapter"

    @property
    def training(self) -> Path:
        """The trainer's log and checkpoints."""
        return self.folder / "training"

    @property
    def initial_adapter(self) -> Path | None:
        """What the round before left, to sample from and to train on; None in the first round."""
        if self.number == 1:
            return None
        before = self.run.round(self.number - 1)
        return self.require(before.adapter, "train", before.number)

    @property
    def earlier(self) -> list[Round]:
        """The rounds before, the latest first."""
        return [self.run.round(number) for number in range(self.number - 1, 0, -1)]

    def require(self, path: Path, verb: str, number: int | None = None) -> Path:
        """`path` if it exists; RunError naming the command that makes it if not."""
        return self.run.require(path, f"{verb} --round {number or self.number}")


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
