"""The runs of a comparison: for each seed the first method samples and judges, the others train on the very same.

Reads a comparison; writes into a folder an ordinary run of the first method and seed with a page, the other runs under
`comparison/seed-<seed>/<method>/`, and `comparison.json`. What is done and intact is not done again.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from pipelines.comparison.experiment import Comparison
from pipelines.comparison.findings import Runs, collect
from pipelines.run.walk import check_settings, run_plan
from pipelines.run.files import new_folder, write_json
from pipelines.run.folder import Run
from pipelines.run.stages import EVALUATE, JUDGE, PAIR, REPORT, SAMPLE, TASKS, TRAIN, Stage, plan

_SHARED = (TASKS, SAMPLE, JUDGE, PAIR, EVALUATE["before"])
"""What is the same for every method of a seed."""
_FOLDERS = ("samples", "dataset", "evaluation")
"""Where those stages leave what they make."""
_OWN = (TRAIN, EVALUATE["after"])


def compare(comparison: Comparison, root: Path) -> int:
    """Bring every run up to date, then `comparison.json` and the page; the exit code of what failed first, or 0."""
    runs = _open(comparison, root)
    for (method, seed), run in runs.items():
        config = comparison.config(method, seed)
        source = runs[next(iter(comparison.methods)), seed]
        print(f"— {method}, seed {seed}: {run.root}", flush=True)
        stages: tuple[Stage, ...] = _SHARED + _OWN
        if run is not source:
            _share(source, run)
            stages = _OWN
        elif run.root == root:
            stages = plan(1)
        code = run_plan(config, run, stages)
        if code != 0:
            return code
    write_json(root / "comparison.json", collect(comparison, runs, root))
    first = next(iter(runs))
    return run_plan(comparison.config(*first), runs[first], (REPORT,))


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
    """Give a run what another of the same seed sampled, judged, paired and measured before training."""
    made = source.manifest()
    shared = {stage.name: made["stages"][stage.name] for stage in _SHARED}
    own = run.manifest().get("stages", {})
    is_same = all(own.get(name) == entry for name, entry in shared.items())
    if is_same and all(run.is_done(stage.name, stage.inputs, stage.outputs) for stage in _SHARED):
        return
    for name in _FOLDERS:
        with new_folder(run.root / name) as folder:
            shutil.copytree(source.root / name, folder, dirs_exist_ok=True)
    (run.evaluation / "after.jsonl").unlink(missing_ok=True)
    run.record(**{name: made[name] for name in ("model", "seed") if name in made}, stages={**own, **shared})
