"""Runs with something missing or damaged: the section says so, and the rest of the page stands. The command's own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pipelines.cli import main
from tests.report.conftest import render

MISSING = {
    "attention": ("attention", "probe", " --phase before"),
    "rounds/2/training": ("update", "train", " --round 2"),
    "rounds": ("labels", "pair", " --round 1"),
    "metrics.json": ("behaviour", "evaluate", " --phase before"),
}
# Of each section one file at a time; a section names the first of its files that is damaged.
DAMAGED = (
    {
        "attention": "attention/before.safetensors", "labels": "labels/agreement.json", "behaviour": "metrics.json",
        "update": "rounds/2/training/log.json",
    },
    {
        "attention": "attention/before.json", "labels": "rounds/2/run-round-2/pairs/train-00000-of-00001.parquet",
        "update": "rounds/2/training/worked_pair.json", "behaviour": "evaluation/after/00000.jsonl",
    },
    {"attention": "attention/after_findings.json", "behaviour": "evaluation/chat.json"},
    {"behaviour": "tasks.jsonl"},
)  # fmt: skip
HALF = {"before": {"zero_shot": {"overall": {}}}, "trained_families": []}


def section(page, name: str) -> str:
    return page.inner_text(f"section[aria-labelledby={name}]")


def test_missing_stages_are_named_with_their_commands(show, changed: Path):
    for artefact in MISSING:
        path = changed / artefact
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    page = show(render(changed))
    for name, verb, arguments in MISSING.values():
        assert f"attend-and-prefer {verb} --config {changed}/config.yaml --run {changed}{arguments}" in section(
            page, name
        )
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
        assert any(way in told for way in ("run `attend-and-prefer", "delete the file", "delete this line"))


@pytest.mark.parametrize(
    ("artefact", "content", "told"),
    [
        ("metrics.json", {"before": {"zero_shot": 1}}, "metrics.json: no object at /before/zero_shot"),
        ("metrics.json", HALF, "metrics.json: nothing at /before/zero_shot/overall/parses"),
        (
            "rounds/2/training/worked_pair.json",
            {"chosen": "1", "rejected": "2"},
            "worked_pair.json: nothing at /prompt",
        ),
        ("rounds/2/training/log.json", [3], "training/log.json: no object at /0"),
        ("labels/agreement.json", {"agreement": 1}, "labels/agreement.json: no list at /agreement"),
        ("evaluation/chat.json", {"answers": [1]}, "evaluation/chat.json: no object at /answers/0"),
    ],
)
def test_json_of_another_shape_is_named_with_the_place(changed: Path, artefact: str, content, told: str):
    (changed / artefact).write_text(json.dumps(content))
    assert told in render(changed).read_text()


def test_a_damaged_handout_is_one_line(changed: Path, capsys):
    (changed / "handout.yaml").write_text("sequence: [1]")
    assert main(["report", str(changed)]) == 2
    assert "run/handout.yaml: must hold exactly" in capsys.readouterr().err


def test_a_run_before_its_first_stage_has_a_page(show, begun, shipped: str):
    page = show(begun(shipped))
    assert page.locator(".missing").count() == 5
    assert "unexpected" not in section(page, "provenance")
    assert page.locator(".trace").count() == 4


def test_a_run_folder_is_all_it_needs(changed: Path, monkeypatch, tmp_path: Path):
    (changed / "report.html").unlink()
    monkeypatch.chdir(tmp_path)
    assert main(["report", str(changed)]) == 0
    assert (changed / "report.html").exists()


def test_a_folder_that_is_no_run_is_one_line(tmp_path: Path, capsys):
    assert main(["report", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(tmp_path / "config.yaml") in line


def test_a_run_folder_named_twice_is_a_mistake(tmp_path: Path, capsys):
    assert main(["report", str(tmp_path), "--run", str(tmp_path)]) == 2
    assert "named twice" in capsys.readouterr().err
