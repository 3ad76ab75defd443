"""The notebook that walks through the handout, its cells run in order on the tiny model."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).resolve().parent.parent / "docs" / "handout.ipynb"


@pytest.fixture(scope="module")
def notebook(tiny_folder: Path) -> dict[str, Any]:
    """What the cells leave, run one after the other."""
    names: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HANDOUT_MODEL", str(tiny_folder))
        for number, cell in enumerate(json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]):
            if cell["cell_type"] == "code":
                exec(compile("".join(cell["source"]), f"{NOTEBOOK.name}, cell {number}", "exec"), names)  # noqa: S102 - our own cells
    return names


def test_the_weights_that_must_be_0_are(notebook: dict[str, Any]):
    assert notebook["largest_forbidden_weight"] == 0
    assert notebook["largest_row_error"] < 1e-6


def test_the_better_sample_scores_more(notebook: dict[str, Any]):
    assert notebook["scores"][notebook["better"]] == 1 > notebook["scores"][notebook["worse"]]


def test_the_loss_starts_at_ln_2_and_a_step_lowers_it(notebook: dict[str, Any]):
    assert notebook["first_loss"].item() == pytest.approx(math.log(2), abs=1e-5)
    assert notebook["second_loss"].item() < notebook["first_loss"].item()
    assert notebook["gained"][notebook["better"]] > notebook["gained"][notebook["worse"]]


def test_the_notebook_is_kept_without_outputs():
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert not [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")]
