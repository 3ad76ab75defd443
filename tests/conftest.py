"""Fixtures that everything shares: no network, the tiny model, the real bundled one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

# Before any Hugging Face library reads them: a test that would reach for the network fails at once instead.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"

import pytest
from hypothesis import settings

# A busy machine is slow, not wrong.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

ROOT = Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever opens a page, directly or through another fixture, needs a browser."""
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker("browser")


@pytest.fixture(scope="session")
def browser():
    """A real Chromium, without a network; a machine without one fails here with the line that says how to get it."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or pytest.fail("no chromium on this machine: apt-get install chromium")
    quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu", *quiet])
        yield started
        started.close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch):
    """An OpenAI-compatible server on loopback; no key for it in the environment."""
    from tests.loopback import serve

    for name in ("SAMPLING_API_KEY", "JUDGE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with serve() as running:
        yield running


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.tiny import build_tiny_model

    return build_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path):
    from pipelines.models import load_model

    return load_model(str(tiny_folder))


@pytest.fixture(scope="session")
def bundled():
    """The real model; a machine without its package fails here with the line that says how to get it."""
    from pipelines.models import load_model

    return load_model("bundled")
