"""A whole comparison on the tiny model: planted samples, real stages, real trainings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from pipelines.comparison import load_comparison
from pipelines.config import config_to_dict
from pipelines.records import Task, dump_lines, load_lines
from pipelines.run.folder import Run
from pipelines.run.stages import SAMPLE
from tests.stages.conftest import CONFIG, load_script, plant


@pytest.fixture
def comparison_file(tmp_path: Path, tiny_folder: Path) -> Path:
    experiment = {**CONFIG, "model": {**CONFIG["model"], "name": str(tiny_folder)}}
    sft = {"max_steps": 2, "per_device_train_batch_size": 4, "gradient_checkpointing": False}
    methods = {"dpo": {}, "sft": {"method": "sft", "sft": sft}}
    file = tmp_path / "methods.yaml"
    file.write_text(yaml.safe_dump({"seeds": [0, 1], "methods": methods, "experiment": experiment}))
    return file


def plant_run(root: Path, config_file: Path, seed: int) -> None:
    """A seed's samples, as if its first stages had run."""
    config = load_comparison(config_file).config("dpo", seed)
    run = Run.open(root, config)
    named = root.parent / f"{seed}.yaml"
    named.write_text(yaml.safe_dump(config_to_dict(config)))
    assert load_script("build_tasks")(["--config", str(named), "--run", str(root)]) == 0
    tasks = [task for task in load_lines(Task, run.tasks_file) if task.split == "train"]
    run.completions_file.write_text(dump_lines(row for task in tasks for row in plant(task)))
    run.record_stage("sample", {"tokens": 160, "seconds": 1.5}, SAMPLE.inputs, SAMPLE.outputs)


@pytest.mark.slow
def test_every_method_trains_on_the_same_samples_and_the_page_says_which_did_best(
    comparison_file: Path, tmp_path: Path
):
    root = tmp_path / "compared"
    plant_run(root, comparison_file, 0)
    (root / "comparison" / "seed-1").mkdir(parents=True)
    plant_run(root / "comparison" / "seed-1" / "dpo", comparison_file, 1)
    arguments = ["--config", str(comparison_file), "--run", str(root)]
    assert load_script("compare_runs")(arguments) == 0
    found = json.loads((root / "comparison.json").read_text())
    assert [(row["method"], row["seed"], row["trainer"]) for row in found["runs"]] == [
        ("dpo", 0, "dpo"),
        ("sft", 0, "sft"),
        ("dpo", 1, "dpo"),
        ("sft", 1, "sft"),
    ]
    folders = [root / row["run"] for row in found["runs"]]
    for own, other in (folders[:2], folders[2:]):
        for name in ("samples/completions.jsonl", "dataset/README.md", "evaluation/before.jsonl"):
            assert (own / name).read_bytes() == (other / name).read_bytes()
        assert (own / "adapter" / "adapter_model.safetensors").read_bytes() != (
            other / "adapter" / "adapter_model.safetensors"
        ).read_bytes()
    assert found["rates"]["bare"]["before"]["tasks"] == 2 * 3  # two seeds of three held-out tasks
    page = (root / "report.html").read_text()
    assert 'id="methods"' in page

    written = {folder: (folder / "adapter" / "adapter_model.safetensors").stat().st_mtime_ns for folder in folders}
    assert load_script("compare_runs")(arguments) == 0
    assert written == {
        folder: (folder / "adapter" / "adapter_model.safetensors").stat().st_mtime_ns for folder in folders
    }
