from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.config import Config, SamplingConfig
from pipelines.errors import RunError
from pipelines.run.files import new_folder, write_json, write_text
from pipelines.run.folder import Run
from pipelines.run.stages import Stage


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.open(tmp_path / "run", Config())


@pytest.fixture
def copying(run: Run) -> Stage:
    """A stage whose input and output are there."""
    write_text(run.root / "in.txt", "in")
    write_text(run.root / "out" / "part.txt", "out")
    reads, writes = (run.root / "in.txt",), (run.root / "out",)
    return Stage(name="copy", verb="copy", title="copy", work="", place=run, reads=reads, writes=writes)


def test_the_same_config_opens_a_run_again(run: Run):
    assert Run.open(run.root, Config()).config_file.exists()


def test_another_config_is_refused_with_the_first_difference(run: Run):
    with pytest.raises(RunError, match=r"another config \(sampling.samples_per_task was 12, now 3\)"):
        Run.open(run.root, Config(sampling=SamplingConfig(samples_per_task=3)))


def test_a_folder_of_other_files_is_not_taken_over(tmp_path: Path):
    (tmp_path / "photo.jpg").write_text("mine")
    with pytest.raises(RunError, match=r"holds files but no config.yaml"):
        Run.open(tmp_path, Config())
    assert [file.name for file in tmp_path.iterdir()] == ["photo.jpg"]


def test_a_folder_with_samples_where_an_older_version_put_them_is_refused(run: Run):
    (run.root / "samples").mkdir()
    with pytest.raises(RunError, match="was made by another version, in a layout of its own; name another folder"):
        Run.open(run.root, Config())


@pytest.mark.parametrize("manifest", [{"stages": {"judge": {}}}, {"format": 1}, {"format": 3}])
def test_a_manifest_of_no_format_or_another_is_refused(run: Run, manifest: dict):
    """Before its config is read, whose words may be older ones too."""
    write_json(run.manifest_file, manifest)
    run.config_file.write_text("tasks: {held_out_fraction: 0.25}")
    with pytest.raises(RunError, match="was made by another version"):
        Run.open(run.root, Config())


def test_a_path_through_a_file_is_one_line(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        Run.open(tmp_path / "file" / "run", Config())


@pytest.mark.parametrize("changed", ["in.txt", "out/part.txt"])
def test_a_stage_is_done_only_while_inputs_and_outputs_are_the_same_bytes(run: Run, copying: Stage, changed: str):
    assert not run.is_done(copying)
    run.record_stage(copying, {})
    assert run.is_done(copying)
    before = (run.root / changed).read_text()
    write_text(run.root / changed, "torn")
    assert not run.is_done(copying)
    write_text(run.root / changed, before)
    assert run.is_done(copying)


def test_a_rounds_dataset_has_run_and_round_in_its_name_also_in_a_copied_folder(run: Run, tmp_path: Path):
    assert run.round(1).dataset == run.root / "rounds" / "1" / "run-round-1"
    run.round(1).dataset.mkdir(parents=True)
    run.root.rename(tmp_path / "other")
    assert Run(tmp_path / "other").round(1).dataset.name == "run-round-1"


def fail_half_way(path: Path) -> None:
    with new_folder(path) as folder:
        write_text(folder / "new.txt", "new")
        raise RuntimeError("half way")


def test_a_failed_write_leaves_the_old_folder_and_nothing_else(tmp_path: Path):
    write_text(tmp_path / "data" / "old.txt", "old")
    with pytest.raises(RuntimeError, match="half way"):
        fail_half_way(tmp_path / "data")
    assert [path.name for path in tmp_path.rglob("*")] == ["data", "old.txt"]


def test_a_damaged_manifest_says_what_to_do(run: Run):
    run.manifest_file.write_text("{")
    with pytest.raises(RunError, match="delete it to run every stage again"):
        run.manifest()


def test_the_manifest_names_versions_and_machine(run: Run):
    run.record(model={"name": "tiny"})
    manifest = run.manifest()
    assert manifest["model"] == {"name": "tiny"}
    assert {"python", "torch", "transformers", "trl"} <= manifest["versions"].keys()
    assert manifest["machine"]["cores"] >= 1
