"""Asking for help costs nothing: no verb loads a model library before its work begins."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from pipelines.cli import build_parser

VERBS = sorted(build_parser()._subparsers._group_actions[0].choices)
HEAVY = ("torch", "transformers", "trl", "peft", "datasets", "accelerate", "matplotlib")


def test_the_verbs_are_those_of_the_documents():
    assert sorted("run tasks probe sample verify pair train evaluate report compare label export".split()) == VERBS


@pytest.mark.parametrize("verb", VERBS)
def test_help_loads_nothing_heavy(verb: str):
    code = (
        "import sys, json\nfrom pipelines.cli import main\n"
        f"try: main([{verb!r}, '--help'])\nexcept SystemExit: pass\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert verb in shown
    assert not set(HEAVY) & set(json.loads(shown.splitlines()[-1]))
