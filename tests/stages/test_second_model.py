"""The job on a model of another kind: layers that slide, two kinds of positions, one key and value head for all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.stages.conftest import do, load_run, plant_samples, write_config
from tests.tiny import build_tiny_gemma


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run whose prompts fit the window: a fallback would warn, and a warning is an error here."""
    folder = tmp_path_factory.mktemp("gemma")
    model = build_tiny_gemma(folder / "model", window=1024)
    arguments = ["--config", str(write_config(folder / "tiny.yaml", model)), "--run", str(folder / "run")]
    do(arguments, "tasks", "probe", "evaluate", "sample")
    plant_samples(arguments)
    do(arguments, "pair", "train")
    do([*arguments, "--phase", "after"], "evaluate", "probe")
    do(arguments, "report")
    do([*arguments, "--merged", "--output", str(folder / "run" / "out")], "export")
    return folder / "run"


def test_it_is_probed_sampled_trained_and_measured(root: Path):
    stages = load_run(root).manifest()["stages"]
    assert stages["probe_before"]["layers"] == 4
    assert stages["train_1"]["base_unchanged"]
    assert stages["train_1"]["prefix_sharing"]
    assert json.loads((root / "metrics.json").read_text()).keys() >= {"before", "after"}
    assert (root / "report.html").exists()


def test_it_is_exported_with_the_adapter_merged(root: Path):
    """The export itself compares the logits."""
    assert json.loads((root / "out" / "config.json").read_text())["model_type"] == "gemma3_text"
