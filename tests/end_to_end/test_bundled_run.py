"""The README's command on the real model, small: real processes, a real launch, every artefact of the contract."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from datasets import load_dataset
from jsonschema import Draft202012Validator
from safetensors.numpy import load_file

from tests.stages.conftest import CTRL_C

ROOT = Path(__file__).resolve().parent.parent.parent
pytestmark = pytest.mark.slow


def pipeline(run: Path) -> list[str]:
    return [sys.executable, "-m", "pipelines", "run", "--config", "configs/smoke.yaml", "--run", str(run)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, bundled) -> Path:
    folder = tmp_path_factory.mktemp("end_to_end") / "smoke"
    result = subprocess.run(pipeline(folder), cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


def test_the_zeros_of_the_handout_are_zeros_in_every_layer_and_head(run: Path):
    weights = load_file(run / "attention" / "before.safetensors")["weights"]
    assert weights.shape == (30, 9, 5, 5)
    assert weights[..., np.triu(np.ones((5, 5), dtype=bool), 1)].max() == 0.0


def test_the_first_dpo_loss_is_ln_2_and_training_changed_the_adapter_only(run: Path):
    log = json.loads((run / "rounds" / "1" / "training" / "log.json").read_text())
    stage = json.loads((run / "manifest.json").read_text())["stages"]["train_1"]
    assert log[0]["loss"] == pytest.approx(0.693147, abs=1e-4)
    assert stage["base_unchanged"] is True
    moved, of = stage["parameters_moved"].split(" of ")
    assert moved == of == "420"


def test_pairs_prefer_exact_answers_to_wrong_ones_of_the_same_request(run: Path, tmp_path: Path):
    pairs = load_dataset(str(run / "rounds" / "1" / "smoke-round-1"), "pairs", split="train", cache_dir=str(tmp_path))
    for pair in pairs:
        target = json.loads(pair["targets"][0])
        assert json.loads(pair["chosen"][0]["content"]) == target
        assert pair["rejected"][0]["content"] != pair["chosen"][0]["content"]


def test_rates_of_test_tasks_stand_before_and_after_for_both_prompts(run: Path):
    metrics = json.loads((run / "metrics.json").read_text())
    for phase in ("before", "after"):
        for source in ("few_shot", "zero_shot"):
            assert metrics[phase][source]["range"]["exact_match"]["total"] == 2 * 2
            assert metrics[phase][source]["overall"]["parses"]["total"] == 3 * 2


def same(one: object, other: object) -> bool:
    """Equality that tells 1 from 1.0 and from true, by the standard library's own spelling of a value."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def test_evaluations_verdicts_agree_with_an_independent_reading(run: Path):
    """The standard library's parser and another library's JSON Schema, on every sample of a test task."""
    tasks = {task["id"]: task for task in map(json.loads, (run / "tasks.jsonl").read_text().splitlines())}
    lines = [line for file in run.glob("evaluation/*/*.jsonl") for line in file.read_text().splitlines()]
    samples = [sample for line in lines for sample in json.loads(line)["samples"]]
    assert len(samples) == 2 * 2 * 3 * 2  # phases, prompts, tasks, samples
    for sample in samples:
        task, verdict = tasks[sample["task_id"]], sample["verdict"]
        try:
            value = json.loads(sample["completion"])
            parses = sample["finish_reason"] == "stop"
        except ValueError:
            value, parses = None, False
        fits = parses and Draft202012Validator(json.loads(task["schema"])).is_valid(value)
        exact = fits and same(value, json.loads(task["targets"][0]))
        assert (verdict["parses"], verdict["schema_valid"], verdict["exact_match"]) == (parses, fits, exact)


class References(HTMLParser):
    """What a page would fetch and where it leads; an answer that merely mentions an address is text."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.linked: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = self.linked if tag == "a" else self.fetched
        found += [value or "" for name, value in attrs if name in ("src", "href", "action", "srcset", "data")]


def test_the_page_needs_nothing_but_itself(run: Path):
    page = (run / "report.html").read_text()
    assert len(page.encode()) < 2_000_000
    references = References()
    references.feed(page)
    assert references.fetched
    assert all(address.startswith("data:") for address in references.fetched)
    files = [address for address in references.linked if not address.startswith(("#", "?"))]
    assert all((run / address).is_file() for address in files)
    assert re.search("script-src .{1,5}sha256-", page)  # what runs is what the page was made with; it has no address
    assert "Not there yet" not in page


def test_a_second_call_skips_what_is_done_and_intact(run: Path):
    result = subprocess.run(pipeline(run), cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("up to date, skipped") == 7  # all but the tasks and the page


def test_ctrl_c_stops_cleanly_while_it_samples(tmp_path: Path, bundled):
    folder = tmp_path / "stopped"
    process = subprocess.Popen(
        [*CTRL_C, *pipeline(folder)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while "draw samples" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert "evaluate_before" in json.loads((folder / "manifest.json").read_text())["stages"]
