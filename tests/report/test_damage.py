"""Runs with something missing or damaged: the section says so, and the rest of the page stands."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.report.conftest import render
from tests.stages.conftest import load_script

MISSING = {
    "attention": ("attention", "probe_attention.py", " --phase before"),
    "dataset": ("labels", "build_preferences.py", ""),
    "training": ("update", "train_dpo.py", ""),
    "metrics.json": ("behaviour", "evaluate_policy.py", " --phase before"),
}
# Of each section one file at a time; a section names the first of its files that is damaged.
DAMAGED = (
    {
        "attention": "attention/before.safetensors", "labels": "labels/agreement.json", "update": "training/log.json",
        "behaviour": "metrics.json",
    },
    {
        "attention": "attention/before.json", "labels": "dataset/pairs/train-00000-of-00001.parquet",
        "update": "training/worked_pair.json", "behaviour": "evaluation/after.jsonl",
    },
    {"attention": "attention/after_findings.json", "behaviour": "evaluation/chat.json"},
    {"behaviour": "samples/tasks.jsonl"},
)  # fmt: skip


def section(page, name: str) -> str:
    return page.inner_text(f"section[aria-labelledby={name}]")


def test_missing_stages_are_named_with_their_commands(show, changed: Path):
    shutil.rmtree(changed / "rounds")
    for artefact in MISSING:
        path = changed / artefact
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    page = show(render(changed))
    for name, script, arguments in MISSING.values():
        assert f"scripts/{script} --config {changed}/config.yaml --run {changed}{arguments}" in section(page, name)
    assert (page.locator(".missing").count(), page.locator(".damaged").count()) == (4, 0)


@pytest.mark.parametrize("artefacts", DAMAGED)
@pytest.mark.parametrize("content", [b"\x00\xff{", b'{"cut": [1, '])
def test_damaged_artefacts_are_named_and_the_rest_shown(changed: Path, artefacts: dict[str, str], content: bytes):
    for artefact in artefacts.values():
        (changed / artefact).write_bytes(content)
    page = render(changed).read_text()
    assert page.count("Damaged: ") == len(artefacts)
    for name, artefact in artefacts.items():
        told = page.partition(f'<section aria-labelledby="{name}">')[2].partition("</section>")[0]
        assert artefact.removesuffix(".safetensors").removesuffix(".json") in told.partition("Damaged: ")[2]
        assert "run scripts/" in told or "delete the file" in told


@pytest.mark.parametrize(
    ("artefact", "content", "told"),
    [
        ("metrics.json", {"before": {"bare": 1}}, "metrics.json: no object at /before/bare"),
        ("training/worked_pair.json", {"chosen": "1", "rejected": "2"}, "worked_pair.json: nothing at /prompt"),
        ("training/log.json", [3], "training/log.json: no object at /0"),
        ("labels/agreement.json", {"agreement": 1}, "labels/agreement.json: no list at /agreement"),
        ("evaluation/chat.json", {"answers": [1]}, "evaluation/chat.json: no object at /answers/0"),
    ],
)
def test_json_of_another_shape_is_named_with_the_place(changed: Path, artefact: str, content, told: str):
    (changed / artefact).write_text(json.dumps(content))
    assert told in render(changed).read_text()


def test_a_value_that_is_missing_is_named_with_its_place(changed: Path):
    metrics = json.loads((changed / "metrics.json").read_text())
    del metrics["before"]["bare"]["range"]["valid"]
    (changed / "metrics.json").write_text(json.dumps(metrics))
    assert "metrics.json: nothing at /before/bare/range/valid" in render(changed).read_text()


def test_a_damaged_handout_is_one_line(changed: Path, capsys):
    (changed / "samples" / "handout.yaml").write_text("sequence: [1]")
    code = load_script("render_report")(["--config", str(changed / "config.yaml"), "--run", str(changed)])
    assert code == 2
    assert "samples/handout.yaml: must hold exactly" in capsys.readouterr().err


def test_a_run_before_its_first_stage_has_a_page(show, begun, shipped: str):
    page = show(begun(shipped))
    assert page.locator(".missing").count() == 5
    assert "unexpected" not in section(page, "provenance")
    assert page.locator(".trace").count() == 4
