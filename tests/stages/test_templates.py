"""A model without a chat template is refused in one line, before its weights are read and before the first stage."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.stages.conftest import CONFIG, change, do, load_run, plant_samples, write_config


@pytest.fixture
def plain(tiny_folder: Path, tmp_path: Path) -> Path:
    """A model without a template, whose weights cannot be read either."""
    folder = shutil.copytree(tiny_folder, tmp_path / "plain")
    (folder / "chat_template.jinja").unlink()
    (folder / "model.safetensors").write_bytes(b"")
    return folder


@pytest.mark.parametrize("verb", ["run", "sample", "train", "evaluate"])
def test_it_is_named_with_what_to_do(complaint, plain: Path, tmp_path: Path, verb: str):
    file = write_config(tmp_path / "plain.yaml", plain)
    line = complaint(verb, ["--config", str(file), "--run", str(tmp_path / "run")])
    assert f"{plain} has no chat template; use an instruction-tuned model, or put a chat_template.jinja into" in line
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["config.yaml"]


@pytest.fixture
def at_server(plain: Path, tmp_path: Path, server) -> list[str]:
    """Arguments of verbs on a run whose samples come of a server."""
    sampling = {**CONFIG["sampling"], "server": {"url": server.url, "model": "m"}}
    file = write_config(tmp_path / "plain.yaml", plain, sampling=sampling)
    return ["--config", str(file), "--run", str(tmp_path / "run")]


def test_samples_of_a_server_need_none(at_server: list[str], server):
    do(at_server, "tasks", "sample")
    assert server.seen


def test_pairs_of_such_samples_need_none(at_server: list[str], tmp_path: Path):
    do(at_server, "tasks")
    plant_samples(at_server)
    do(at_server, "pair")
    assert load_run(tmp_path / "run").last.dataset.exists()


def test_training_without_an_end_token_warns(arguments: list[str], paired: Path, tiny_folder: Path, tmp_path: Path):
    folder = shutil.copytree(tiny_folder, tmp_path / "endless")
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text().replace("'<|im_end|>\\n'", "'\\n'"))
    change([Path(arguments[1]), paired / "config.yaml"], model={"name": str(folder)})
    do(arguments, "train")
    assert "puts no end token" in load_run(paired).manifest()["stages"]["train_1"]["alerts"][0]
