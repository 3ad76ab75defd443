"""The command as somebody has it who installed the package: outside the clone, with the configs and data that ship."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package as its wheel lays it out, and nothing of the clone."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # a copy: a build leaves files behind that the next one would take in
    for name in ("pipelines", "configs", "data"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(source)]
    subprocess.run([sys.executable, "-m", "pip", *build], check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run(installed: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # Ahead of the clone, which the tests' own environment has installed.
    environment = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pipelines", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_it_finds_the_configs_and_data_that_ship_and_names_what_is_missing(installed: Path, tmp_path: Path):
    found = run(installed, tmp_path, "tasks", "--config", "configs/smoke.yaml")
    assert found.returncode == 0, found.stderr
    assert (tmp_path / "runs" / "smoke" / "tasks.jsonl").exists()
    missing = run(installed, tmp_path, "tasks", "--config", "configs/none.yaml")
    assert missing.returncode == 2
    assert missing.stderr.startswith("error: configs/none.yaml: cannot be read")


@pytest.mark.slow
def test_it_holds_types_templates_and_no_tests(installed: Path):
    files = {path.relative_to(installed).as_posix() for path in installed.rglob("*") if path.is_file()}
    shipped = {"configs/accelerate/cpu.yaml", "configs/default.yaml", "data/chat.yaml", "data/handout.yaml"}
    assert {"pipelines/py.typed", *(f"pipelines/shipped/{name}" for name in shipped)} <= files
    assert any(name.startswith("pipelines/report/templates/") for name in files)
    assert not [name for name in files if name.startswith(("tests", "scripts", "configs", "data"))]
