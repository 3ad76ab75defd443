"""The verb `probe` on any text: what it refuses before it works, what it never loses, what it tells."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.attention.study import RECORD
from pipelines.cli import main

Complaint = Callable[..., str]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "study"


@pytest.fixture
def free(tiny_folder: Path, out: Path) -> list[str]:
    return ["--model", str(tiny_folder), "--out", str(out)]


@pytest.fixture
def trained(tmp_path: Path, tiny) -> Path:
    """A whole model trained in full: what `--adapter` takes beside adapters."""
    model, tokenizer = tiny
    model.save_pretrained(tmp_path / "trained")
    tokenizer.save_pretrained(tmp_path / "trained")
    return tmp_path / "trained"


@pytest.fixture
def last_complaint(capsys: pytest.CaptureFixture[str]) -> Complaint:
    """As `complaint`, after a model was loaded: in a process that had progress bars before, its bar comes first."""

    def refuse(name: str, arguments: list[str]) -> str:
        assert main([name, *arguments]) == 2
        return capsys.readouterr().err.strip().splitlines()[-1]

    return refuse


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--text", ""], "--text must hold at least one symbol"),
        (["--text", "  "], "--text must hold at least one symbol"),
        (["--text", "1 a", "--seeds", "-3"], "--seeds must be 4 or more, got -3"),
        (["--text", "1 a", "--seeds", "2"], "--seeds must be 4 or more, got 2"),
        (["--text", "1 a", "--seeds", "many"], "--seeds must be whole numbers"),
        (["--text", "1 a", "--layers", "one"], "--layers must be whole numbers"),
        (["--text", "1 a", "--other-adapter", "x"], "name that one with --adapter"),
        (["--text", "1 a", "--adapter", "foo/bar"], "--adapter must be a folder of trained weights, got 'foo/bar'"),
        (["--text", "1 a", "--run", "x"], "--run is of a run"),
        (["--text", "1 a", "--phase", "after"], "--phase is of a run"),
        (["--text", "1 a", "--config", "configs/default.yaml"], "--config is of a run"),
        (["--text", "1 a", "--set", "seed=1"], "--set is of a run"),
    ],
)
def test_what_cannot_be_answered_is_refused_before_any_work(
    complaint: Complaint, free: list[str], out: Path, arguments: list[str], told: str
):
    assert told in complaint("probe", [*free, *arguments])
    assert not out.exists()


@pytest.mark.parametrize(
    "option",
    [
        ["--prefix", "bos"],
        ["--out", "x"],
        ["--layers", "0"],
        ["--heads", "0"],
        ["--seeds", "4"],
        ["--tokens", "text"],
        ["--other-adapter", "x"],
    ],
)
def test_an_option_of_a_text_is_not_ignored_by_a_run(
    complaint: Complaint, arguments: list[str], option: list[str], tmp_path: Path
):
    line = complaint("probe", [*arguments, *option])
    assert f"--config, --run is of a run, and {option[0]} works without one" in line
    assert not (tmp_path / "run").exists()


def test_a_file_in_the_folders_place_is_one_line(complaint: Complaint, free: list[str], out: Path):
    out.write_text("mine")
    assert f"{out} must be a folder, got a file" in complaint("probe", [*free, "--text", "1 a"])
    assert out.read_text() == "mine"


def test_a_folder_below_a_file_is_one_line(complaint: Complaint, free: list[str], out: Path):
    out.write_text("mine")
    assert "must be a folder, got a file" in complaint("probe", [*free[:2], "--text", "1", "--out", f"{out}/x"])


def test_a_folder_that_nobody_can_make_is_one_line(last_complaint: Complaint, free: list[str]):
    """/proc takes no new folders, not even root's."""
    assert "cannot be written" in last_complaint("probe", [*free[:2], "--text", "1", "--out", "/proc/study"])


def test_a_text_that_cannot_be_probed_leaves_the_folder_as_it_was(
    last_complaint: Complaint, free: list[str], out: Path
):
    assert main(["probe", *free, "--text", "1 a 2"]) == 0
    before = contents(out)
    line = last_complaint("probe", [*free, "--text", "unbelievable", "--tokens", "symbols"])
    assert "must be one token" in line
    assert "--tokens text" in line
    assert "layers must be numbers from 0" in last_complaint("probe", [*free, "--text", "1 a", "--layers", "99"])
    assert contents(out) == before


def test_prose_is_probed_as_the_tokenizer_splits_it(free: list[str], out: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["probe", *free, "--text", "Prose, not symbols."]) == 0
    told = capsys.readouterr().out
    assert "19 tokens, as the tokenizer splits the text" in told  # the tiny tokenizer's tokens are bytes
    assert json.loads((out / "before_text.json").read_text())["symbol_texts"] == ["Prose,", " not", " symbols."]
    assert not (out / "before.json").exists()
    assert "Attention on “Prose, not symbols.”" in (out / "explorer.html").read_text()


def test_a_new_study_removes_its_own_files_only(
    free: list[str], out: Path, trained: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["probe", *free, "--text", "1 a 2", "--adapter", str(trained)]) == 0
    (out / "notes.txt").write_text("mine")
    assert "the same model twice 0 bits" in capsys.readouterr().out
    assert {"after.json", "after.png", "after_text.safetensors", "after_findings.json"} <= set(contents(out))
    assert main(["probe", *free, "--text", "1 a 2 b", "--tokens", "symbols"]) == 0
    stems = {f"{name}.{suffix}" for name in ("before", "before_unmasked") for suffix in ("json", "safetensors")}
    recorded = stems | {"before.png", "before.svg", "explorer.html"}
    assert set(contents(out)) == recorded | {RECORD, "notes.txt"}
    assert set(json.loads((out / RECORD).read_text())["files"]) == recorded


def test_files_of_the_same_names_that_somebody_else_made_are_kept(
    complaint: Complaint, free: list[str], out: Path, trained: Path
):
    out.mkdir()
    (out / "after.png").write_bytes(b"by hand")
    assert main(["probe", *free, "--text", "1 a 2"]) == 0
    line = complaint("probe", [*free, "--text", "1 a 2", "--adapter", str(trained)])
    assert "after.png was not written by this tool" in line
    assert (out / "after.png").read_bytes() == b"by hand"


def test_a_text_too_long_for_a_page_is_refused_before_it_is_probed(
    last_complaint: Complaint, free: list[str], out: Path
):
    line = last_complaint("probe", [*free, "--text", "1 a " * 2000])
    assert "too much for a page; select fewer with --layers and --heads" in line
    assert not out.exists()


def test_a_long_table_is_cut_and_says_so(free: list[str], capsys: pytest.CaptureFixture[str]):
    assert main(["probe", *free, "--text", "1 a 2 b " * 12, "--tokens", "symbols"]) == 0
    told = capsys.readouterr().out
    assert "the first 16 of 48 symbols" in told
    assert max(len(line) for line in told.splitlines() if line.startswith("   ")) < 110


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("1 a 2 b 3", "most weight on earlier symbols of the same class"),
        ("1 a !", "most weight on the token before"),
        ("1", "so short a sequence defines no score"),
    ],
)
def test_the_rule_that_chose_the_head_is_told(
    free: list[str], capsys: pytest.CaptureFixture[str], text: str, told: str
):
    assert main(["probe", *free, "--text", text]) == 0
    assert told in capsys.readouterr().out.splitlines()[0]


def test_the_evidence_is_told_and_on_the_page(free: list[str], out: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["probe", *free, "--text", "1 a 2 b 3", "--seeds", "4"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("Evidence"))
    assert "over 4 seeded sequences" in line
    assert "before_findings.json" in line
    found = json.loads((out / "before_findings.json").read_text())
    assert found["ensembles"]["repeated"]["induction"]["uniform"][0][0] == pytest.approx(0.0128, abs=2e-3)
    assert '"evidence":{"before":{"seeds":4' in (out / "explorer.html").read_text()
