"""A whole comparison on the tiny model: planted samples, real stages, real trainings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from pipelines.cli import main
from pipelines.comparison import load_comparison
from pipelines.config import config_to_dict
from pipelines.run.stages import sample_stage
from tests.stages.conftest import CONFIG, DPO, do, load_run, plant_samples

SHARED = ("tasks.jsonl", "rounds/1/samples/00000.jsonl", "evaluation/before/00000.jsonl")


@pytest.fixture
def comparison_file(tmp_path: Path, tiny_folder: Path) -> Path:
    training = {**CONFIG["training"], "dpo": {**DPO, "max_steps": 2}}
    experiment = {**CONFIG, "model": {**CONFIG["model"], "name": str(tiny_folder)}, "training": training}
    sft = {"max_steps": 2, "per_device_train_batch_size": 4, "gradient_checkpointing": False}
    methods = {"dpo": {}, "sft": {"method": "sft", "sft": sft}}
    file = tmp_path / "methods.yaml"
    file.write_text(yaml.safe_dump({"seeds": [0, 1], "methods": methods, "experiment": experiment}))
    return file


def plant_run(root: Path, config_file: Path, seed: int) -> None:
    """A seed's samples, as if its first stages had run."""
    named = root.with_name(f"{seed}.yaml")
    named.parent.mkdir(parents=True, exist_ok=True)
    named.write_text(yaml.safe_dump(config_to_dict(load_comparison(config_file).config("dpo", seed))))
    arguments = ["--config", str(named), "--run", str(root)]
    do(arguments, "tasks")
    plant_samples(arguments)
    run = load_run(root)
    run.record_stage(sample_stage(run.last), {"tokens": 160, "seconds": 1.5})


def adapters(folders: list[Path]) -> list[tuple[bytes, int]]:
    files = [folder / "rounds" / "1" / "adapter" / "adapter_model.safetensors" for folder in folders]
    return [(file.read_bytes(), file.stat().st_mtime_ns) for file in files]


@pytest.mark.slow
def test_every_method_trains_on_the_same_samples_and_the_page_says_which_did_best(
    comparison_file: Path, tmp_path: Path
):
    root = tmp_path / "compared"
    plant_run(root, comparison_file, 0)
    plant_run(root / "comparison" / "seed-1" / "dpo", comparison_file, 1)
    arguments = ["compare", "--config", str(comparison_file), "--run", str(root)]
    assert main(arguments) == 0
    found = json.loads((root / "comparison.json").read_text())
    expected = [("dpo", 0, "dpo"), ("sft", 0, "sft"), ("dpo", 1, "dpo"), ("sft", 1, "sft")]
    assert [(row["method"], row["seed"], row["trainer"]) for row in found["runs"]] == expected
    folders = [root / row["run"] for row in found["runs"]]
    for own, other in (folders[:2], folders[2:]):
        for name in SHARED:
            assert (own / name).read_bytes() == (other / name).read_bytes()
        assert len({content for content, _ in adapters([own, other])}) == 2
    assert found["rates"]["zero_shot"]["before"]["tasks"] == 2 * 3  # two seeds of three test tasks
    assert 'id="methods"' in (root / "report.html").read_text()
    written = adapters(folders)
    assert main(arguments) == 0
    assert adapters(folders) == written
