"""The runs of a comparison: for each seed the first method draws samples, the others train on the very same.

Reads a comparison; writes into a folder an ordinary run of the first method and seed with a page, the other runs under
`comparison/seed-<seed>/<method>/`, and `comparison.json`. What is up to date is not done again.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from pipelines.comparison.experiment import Comparison
from pipelines.comparison.findings import Runs, collect
from pipelines.run import stages
from pipelines.run.files import new_folder, write_json
from pipelines.run.folder import Run
from pipelines.run.stages import Stage
from pipelines.run.walk import check_settings, walk


def compare(comparison: Comparison, root: Path) -> None:
    """Bring every run up to date, then `comparison.json` and the page."""
    runs = _open(comparison, root)
    for (method, seed), run in runs.items():
        source = runs[next(iter(comparison.methods)), seed]
        print(f"— {method}, seed {seed}: {run.root}", flush=True)
        planned = (*_shared(run), *_own(run))
        if run is not source:
            _share(source, run)
            planned = _own(run)
        elif run.root == root:
            planned = stages.plan(run)
        walk(comparison.config(method, seed), run, planned)
    write_json(root / "comparison.json", collect(comparison, runs, root))
    first = next(iter(runs))
    walk(comparison.config(*first), runs[first], (stages.report_stage(runs[first]),))


def _shared(run: Run) -> tuple[Stage, ...]:
    """What is the same for every method of a seed."""
    return (
        stages.tasks_stage(run),
        stages.sample_stage(run.last),
        stages.pair_stage(run.last),
        stages.evaluate_stage(run, "before"),
    )


def _own(run: Run) -> tuple[Stage, ...]:
    return stages.train_stage(run.last), stages.evaluate_stage(run, "after")


def _open(comparison: Comparison, root: Path) -> Runs:
    """Every run's folder, and every mistake in what is handed to libraries, before the first minute is spent."""
    runs: Runs = {}
    for seed in comparison.seeds:
        for method in comparison.methods:
            own = root / "comparison" / f"seed-{seed}" / method if runs else root
            config = comparison.config(method, seed)
            runs[method, seed] = Run.open(own, config)
            check_settings(config, runs[method, seed])
    return runs


def _share(source: Run, run: Run) -> None:
    """Give a run what another of the same seed drew, paired and measured before training."""
    made = source.manifest()
    shared = {stage.name: made["stages"][stage.name] for stage in _shared(source)}
    own = run.manifest().get("stages", {})
    is_same = all(own.get(name) == entry for name, entry in shared.items())
    if is_same and all(run.is_done(stage) for stage in _shared(run)):
        return
    for stage in _shared(source):
        for path in stage.writes:
            target = run.root / path.relative_to(source.root)
            if path.is_dir():
                with new_folder(target) as folder:
                    shutil.copytree(path, folder, dirs_exist_ok=True)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target)
    shutil.rmtree(run.evaluation("after"), ignore_errors=True)
    run.record(**{name: made[name] for name in ("model", "seed") if name in made}, stages={**own, **shared})
