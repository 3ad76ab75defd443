"""The plan of a run: its stages in order, the command of each, what each reads and writes in the run folder.

A plan is data. `walk` goes through it; the command line finds a stage's own entry here. What does the work is named,
not imported, so that asking for help costs nothing.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

from pipelines.run.folder import Round, Run

Phase = Literal["before", "after"]
PHASES: tuple[Phase, ...] = ("before", "after")
ROUND_VERBS = ("sample", "verify", "pair", "train")
"""Commands that work in one round, and take `--round`."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One step of a run."""

    name: str
    """As the manifest has it."""
    verb: str
    """The command that does it alone."""
    title: str
    """What it does, for people who watch."""
    work: str
    """`module:function`, called with the config and `place`; returns facts for the manifest."""
    place: Run | Round
    """What the work is done on."""
    phase: Phase | None = None
    """Of a stage that is done before and after training, which; the work gets it too."""
    reads: tuple[Path, ...] = ()
    writes: tuple[Path, ...]
    launched: bool = False
    """Whether `accelerate launch` starts it."""
    repeated: bool = False
    """Whether it runs even when it is up to date: it reads files outside the run folder, and is quick."""

    @property
    def arguments(self) -> tuple[str, ...]:
        """What the command takes beside --config, --run and --set."""
        number = ("--round", str(self.place.number)) if isinstance(self.place, Round) else ()
        return number + (("--phase", self.phase) if self.phase else ())


def tasks_stage(run: Run) -> Stage:
    """The tasks and the run's copy of the handout."""
    return Stage(
        name="tasks",
        verb="tasks",
        title="draw the tasks and split them",
        work="pipelines.tasks:write_tasks",
        place=run,
        writes=(run.tasks_file, run.handout_file),
        repeated=True,
    )


def probe_stage(run: Run, phase: Phase) -> Stage:
    """Attention maps of the handout's sequence, of the base model or the trained one."""
    after = phase == "after"
    maps = tuple(run.attention / f"{phase}.{suffix}" for suffix in ("safetensors", "json", "svg", "png"))
    explorer = (run.attention / "explorer.html",) if after else ()
    return Stage(
        name=f"probe_{phase}",
        verb="probe",
        title=f"attention maps of the handout's sequence, {phase} training",
        work="pipelines.attention.study:probe_handout",
        place=run,
        phase=phase,
        reads=(run.handout_file, *((run.last.adapter,) if after else ())),
        writes=(*maps, run.attention / f"{phase}_findings.json", *explorer),
    )


def sample_stage(place: Round) -> Stage:
    """The policy's samples of the training tasks, verified as they are drawn."""
    before = (place.run.round(place.number - 1).adapter,) if place.number > 1 else ()
    return Stage(
        name=f"sample_{place.number}",
        verb="sample",
        title=f"draw samples from the policy and verify them{_of(place)}",
        work="pipelines.samples.collecting:sample_round",
        place=place,
        reads=(place.run.tasks_file, *before),
        writes=(place.samples,),
    )


def pair_stage(place: Round) -> Stage:
    """Preference pairs of the samples, as a dataset."""
    return Stage(
        name=f"pair_{place.number}",
        verb="pair",
        title=f"make preference pairs{_of(place)}",
        work="pipelines.preferences.dataset:build_dataset",
        place=place,
        reads=(place.run.tasks_file, place.samples),
        writes=(place.dataset,),
    )


def train_stage(place: Round) -> Stage:
    """The update, from what the round before left."""
    earlier = [one for before in place.earlier for one in (before.dataset, before.adapter)]
    return Stage(
        name=f"train_{place.number}",
        verb="train",
        title=f"train the policy with TRL{_of(place)}",
        work="pipelines.training.policy:train_policy",
        place=place,
        reads=(place.dataset, *earlier),
        writes=(place.adapter, place.training / "log.json"),
        launched=True,
    )


def evaluate_stage(run: Run, phase: Phase) -> Stage:
    """The test tasks under the base model or the trained one."""
    after = phase == "after"
    return Stage(
        name=f"evaluate_{phase}",
        verb="evaluate",
        title=f"measure the test tasks, {phase} training",
        work="pipelines.evaluation.measuring:evaluate",
        place=run,
        phase=phase,
        reads=(run.tasks_file, *((run.last.adapter,) if after else ())),
        writes=(run.evaluation(phase), *((run.metrics_file,) if after else ())),
    )


def report_stage(run: Run) -> Stage:
    """The page."""
    rounds = [one for place in run.every_round for one in (place.dataset, place.training / "log.json")]
    return Stage(
        name="report",
        verb="report",
        title="one page of it all",
        work="pipelines.report:render_report",
        place=run,
        reads=(run.tasks_file, run.handout_file, *rounds, run.root / "evaluation", run.metrics_file, run.attention),
        writes=(run.report_file,),
        repeated=True,
    )


def round_stages(place: Round) -> tuple[Stage, ...]:
    """The stages that each round has."""
    return sample_stage(place), pair_stage(place), train_stage(place)


def plan(run: Run) -> tuple[Stage, ...]:
    """The stages of a run in order."""
    return (
        tasks_stage(run),
        probe_stage(run, "before"),
        evaluate_stage(run, "before"),
        *(stage for place in run.every_round for stage in round_stages(place)),
        evaluate_stage(run, "after"),
        probe_stage(run, "after"),
        report_stage(run),
    )


def _of(place: Round) -> str:
    return f", round {place.number} of {place.run.rounds}" if place.run.rounds > 1 else ""
