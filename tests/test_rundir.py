from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.config import Config, SamplingConfig
from pipelines.errors import RunError
from pipelines.run.files import new_folder, write_text
from pipelines.run.folder import Run


def test_the_same_config_opens_a_run_again(tmp_path: Path):
    Run.open(tmp_path / "run", Config())
    assert Run.open(tmp_path / "run", Config()).config_file.exists()


def test_another_config_is_refused_with_the_first_difference(tmp_path: Path):
    Run.open(tmp_path / "run", Config())
    with pytest.raises(RunError, match=r"another config \(sampling.samples_per_task was 12, now 3\)"):
        Run.open(tmp_path / "run", Config(sampling=SamplingConfig(samples_per_task=3)))


def test_a_folder_of_other_files_is_not_taken_over(tmp_path: Path):
    (tmp_path / "photo.jpg").write_text("mine")
    with pytest.raises(RunError, match=r"holds files but no config.yaml"):
        Run.open(tmp_path, Config())
    assert [file.name for file in tmp_path.iterdir()] == ["photo.jpg"]


def test_a_path_through_a_file_is_one_line(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        Run.open(tmp_path / "file" / "run", Config())


def test_a_stage_is_done_only_while_inputs_and_outputs_are_the_same_bytes(tmp_path: Path):
    run = Run.open(tmp_path / "run", Config())
    write_text(run.root / "in.txt", "in")
    write_text(run.root / "out" / "part.txt", "out")
    run.record_stage("copy", {}, ["in.txt"], ["out"])
    assert run.is_done("copy", ["in.txt"], ["out"])
    write_text(run.root / "out" / "part.txt", "torn")
    assert not run.is_done("copy", ["in.txt"], ["out"])
    write_text(run.root / "out" / "part.txt", "out")
    write_text(run.root / "in.txt", "new")
    assert not run.is_done("copy", ["in.txt"], ["out"])


def test_a_stage_that_never_ran_is_not_done(tmp_path: Path):
    assert not Run.open(tmp_path / "run", Config()).is_done("copy", [], ["out"])


def fail_half_way(path: Path) -> None:
    with new_folder(path) as folder:
        write_text(folder / "new.txt", "new")
        raise RuntimeError("half way")


def test_a_failed_write_leaves_the_old_folder_and_nothing_else(tmp_path: Path):
    write_text(tmp_path / "data" / "old.txt", "old")
    with pytest.raises(RuntimeError, match="half way"):
        fail_half_way(tmp_path / "data")
    assert [path.name for path in tmp_path.rglob("*")] == ["data", "old.txt"]


def test_a_damaged_manifest_says_what_to_do(tmp_path: Path):
    run = Run.open(tmp_path / "run", Config())
    run.manifest_file.write_text("{")
    with pytest.raises(RunError, match="delete it to run every stage again"):
        run.manifest()


def test_the_manifest_names_versions_and_machine(tmp_path: Path):
    run = Run.open(tmp_path / "run", Config())
    run.record(model={"name": "tiny"})
    manifest = run.manifest()
    assert manifest["model"] == {"name": "tiny"}
    assert {"python", "torch", "transformers", "trl"} <= manifest["versions"].keys()
    assert manifest["machine"]["cores"] >= 1
