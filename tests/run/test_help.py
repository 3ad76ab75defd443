"""Asking for help costs nothing: no verb loads a model library before its work begins."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.cli import build_parser

ROOT = Path(__file__).resolve().parent.parent.parent
VERBS = sorted(build_parser()._subparsers._group_actions[0].choices)
ASK_EACH = """
import contextlib, io, sys
from pipelines.cli import main
for verb in sys.argv[1:]:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        main([verb, "--help"])
    assert f"attend-and-prefer {verb} " in said.getvalue(), verb
    heavy = {"torch", "transformers", "trl", "peft", "datasets", "accelerate", "matplotlib"} & sys.modules.keys()
    assert not heavy, (verb, heavy)
"""


def test_the_verbs_are_those_of_the_documents():
    assert sorted("run tasks probe sample verify pair train evaluate report compare label export".split()) == VERBS


def test_help_of_every_verb_loads_nothing_heavy():
    asked = subprocess.run([sys.executable, "-c", ASK_EACH, *VERBS], cwd=ROOT, capture_output=True, text=True)
    assert asked.returncode == 0, asked.stderr


@pytest.mark.parametrize("script", sorted((ROOT / "scripts").glob("*.py")), ids=lambda path: path.stem)
def test_every_script_tells_its_options(script: Path):
    told = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    assert "--" in told.stdout
