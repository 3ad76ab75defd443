"""The plan of a run: its stages in order, the script of each, what each reads and writes in the run folder.

A plan is data. `scripts/run_pipeline.py` walks it; each script finds its own entry here.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One step of a run."""

    name: str
    script: str
    title: str
    """What it does, for people who watch."""
    inputs: tuple[str, ...] = ()
    """Files and folders it reads, relative to the run folder."""
    outputs: tuple[str, ...]
    """Files and folders it writes, relative to the run folder."""
    arguments: tuple[str, ...] = ()
    """Arguments beside --config, --run and --set."""
    launched: bool = False
    """Whether `accelerate launch` starts it."""
    repeated: bool = False
    """Whether it runs even when it is done: it reads files outside the run folder, and is quick."""

    def in_round(self, number: int, rounds: int) -> Stage:
        """The stage as it is in one round of so many: the last has the run's own folder, others one of theirs."""
        if rounds == 1:
            return self
        own = "" if number == rounds else f"rounds/{number}/"
        initial = (f"rounds/{number - 1}/adapter",) if number > 1 and self in _FROM_THE_POLICY else ()
        earlier = tuple(f"rounds/{before}/dataset" for before in range(1, number)) if self == TRAIN else ()
        return dataclasses.replace(
            self,
            name=self.name if number == rounds else f"{self.name}_{number}",
            title=f"{self.title}, round {number} of {rounds}",
            inputs=(*(name if name == _TASKS_FILE else own + name for name in self.inputs), *initial, *earlier),
            outputs=tuple(own + name for name in self.outputs),
            arguments=(*self.arguments, "--round", str(number)),
        )


_TASKS_FILE = "samples/tasks.jsonl"
TASKS = Stage(
    name="tasks",
    script="build_tasks.py",
    title="draw the tasks and split them by key",
    outputs=(_TASKS_FILE, "samples/handout.yaml"),
    repeated=True,
)
PROBE = {
    phase: Stage(
        name=f"probe_{phase}",
        script="probe_attention.py",
        title=f"attention maps of the handout's sequence, {phase} training",
        inputs=("samples/handout.yaml", *(("adapter",) if phase == "after" else ())),
        outputs=(
            *(f"attention/{phase}.{suffix}" for suffix in ("safetensors", "json", "svg", "png")),
            f"attention/{phase}_findings.json",
            *(("attention/explorer.html",) if phase == "after" else ()),
        ),
        arguments=("--phase", phase),
    )
    for phase in ("before", "after")
}
SAMPLE = Stage(
    name="sample",
    script="sample_completions.py",
    title="draw completions from the policy",
    inputs=(_TASKS_FILE,),
    outputs=("samples/completions.jsonl",),
)
JUDGE = Stage(
    name="judge",
    script="judge_completions.py",
    title="let the validator judge them",
    inputs=(_TASKS_FILE, "samples/completions.jsonl"),
    outputs=("samples/verdicts.jsonl",),
)
PAIR = Stage(
    name="pair",
    script="build_preferences.py",
    title="make preference pairs of the verdicts",
    inputs=(_TASKS_FILE, "samples/completions.jsonl", "samples/verdicts.jsonl"),
    outputs=("dataset",),
)
TRAIN = Stage(
    name="train",
    script="train_dpo.py",
    title="train the policy with TRL",
    inputs=("dataset",),
    outputs=("adapter", "training/log.json"),
    launched=True,
)
EVALUATE = {
    phase: Stage(
        name=f"evaluate_{phase}",
        script="evaluate_policy.py",
        title=f"held-out tasks, {phase} training",
        inputs=(_TASKS_FILE, "adapter") if phase == "after" else (_TASKS_FILE,),
        outputs=(f"evaluation/{phase}.jsonl", *(("metrics.json",) if phase == "after" else ())),
        arguments=("--phase", phase),
    )
    for phase in ("before", "after")
}
REPORT = Stage(
    name="report",
    script="render_report.py",
    title="one page of it all",
    inputs=(
        "samples",
        "dataset",
        "training/log.json",
        "evaluation",
        "metrics.json",
        "attention",
    ),
    outputs=("report.html",),
    repeated=True,
)

ROUND = (SAMPLE, JUDGE, PAIR, TRAIN)
"""The stages that each round has."""
_FROM_THE_POLICY = (SAMPLE, TRAIN)


def plan(rounds: int) -> tuple[Stage, ...]:
    """The stages of a run in order."""
    return (
        TASKS,
        PROBE["before"],
        EVALUATE["before"],
        *(stage.in_round(number, rounds) for number in range(1, rounds + 1) for stage in ROUND),
        EVALUATE["after"],
        PROBE["after"],
        REPORT,
    )


PLAN = plan(1)
