"""The README's command on the real model, small: real processes, a real launch, every artefact of the contract."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from datasets import load_dataset
from jsonschema import Draft202012Validator
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parent.parent.parent


def pipeline(run: Path) -> list[str]:
    return [sys.executable, "scripts/run_pipeline.py", "--config", "configs/smoke.yaml", "--run", str(run)]


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
    log = json.loads((run / "training" / "log.json").read_text())
    stage = json.loads((run / "manifest.json").read_text())["stages"]["train"]
    assert log[0]["loss"] == pytest.approx(0.693147, abs=1e-4)
    assert stage["base_unchanged"] is True
    moved, of = stage["parameters_moved"].split(" of ")
    assert moved == of == "420"


def test_pairs_prefer_exact_answers_to_wrong_ones_of_the_same_request(run: Path, tmp_path: Path):
    pairs = load_dataset(str(run / "dataset"), "pairs", split="train", cache_dir=str(tmp_path))
    for pair in pairs:
        target = json.loads(pair["target"])
        assert json.loads(pair["chosen"][0]["content"]) == target
        assert pair["rejected"][0]["content"] != pair["chosen"][0]["content"]


def test_held_out_rates_stand_before_and_after_for_both_promptings(run: Path):
    metrics = json.loads((run / "metrics.json").read_text())
    for phase in ("before", "after"):
        for prompting in ("worked_examples", "bare"):
            assert metrics[phase][prompting]["range"]["exact"]["total"] == 2 * 2
            assert metrics[phase][prompting]["overall"]["valid"]["total"] == 3 * 2


def same(one: object, other: object) -> bool:
    """Equality that tells 1 from 1.0 and from true, by the standard library's own spelling of a value."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def test_evaluations_verdicts_agree_with_an_independent_reading(run: Path):
    """The standard library's parser and another library's JSON Schema, on every held-out completion."""
    tasks = {task["id"]: task for task in map(json.loads, (run / "samples" / "tasks.jsonl").read_text().splitlines())}
    for phase in ("before", "after"):
        for row in map(json.loads, (run / "evaluation" / f"{phase}.jsonl").read_text().splitlines()):
            completion, verdict = row["completion"], row["verdict"]
            task = tasks[completion["task_id"]]
            try:
                value = json.loads(completion["text"])
                parses = completion["finish_reason"] == "stop"
            except ValueError:
                value, parses = None, False
            fits = parses and Draft202012Validator(json.loads(task["schema"])).is_valid(value)
            exact = parses and same(value, json.loads(task["target"]))
            assert (verdict["parses"], verdict["schema_valid"], verdict["exact"]) == (parses, fits, fits and exact)


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
    assert result.stdout.count("done before, intact") == 8


def test_ctrl_c_stops_cleanly_and_the_same_command_goes_on(tmp_path: Path, bundled):
    folder = tmp_path / "stopped"
    process = subprocess.Popen(
        pipeline(folder), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    wait_until(lambda: "probe_before" in finished_stages(folder))
    time.sleep(3)  # past the start of the next stage's interpreter, which answers with a traceback of its own
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert not list(folder.rglob(".*.*"))
    assert "probe_before" in finished_stages(folder)


def finished_stages(folder: Path) -> set[str]:
    manifest = folder / "manifest.json"
    return set(json.loads(manifest.read_text()).get("stages", {})) if manifest.exists() else set()


def wait_until(holds: Callable[[], bool]) -> None:
    for _ in range(1200):
        if holds():
            return
        time.sleep(0.1)
    raise AssertionError("nothing came of it in two minutes")
