"""Question 2b: the formula's steps by hand, rounds, other methods, and what the trainer noted."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from pipelines.report.figures import draw_curves
from pipelines.report.update import negative_log_sigmoid
from tests.report.conftest import edit, render

TRAINING = "rounds/2/training"
_RATES = {"parses": 0.5, "exact_match": 0.25, "pass_rate": 0.25, "mean_tokens": 9.0, "kl_nats_per_token": 0.1}
VALIDATION = {f"validation/{name}": value for name, value in _RATES.items()}


def note(run: Path, **facts) -> None:
    """Put facts of the training into the manifest."""
    edit(run / "manifest.json", lambda manifest: manifest["stages"]["train_2"].update(facts))


def worked(page) -> list[list[str]]:
    return [row.locator("td").all_inner_texts() for row in page.locator(".worked tbody tr").all()]


def test_a_pairs_numbers_go_through_the_formula(show, changed: Path):
    was = {"chosen_logp": -20, "rejected_logp": -30}
    after = {"chosen_logp": -5, "rejected_logp": -45}
    changes = {"beta": 0.1, "reference": was, "before": was, "after": after}
    edit(changed / TRAINING / "worked_pair.json", lambda pair: pair.update(changes))
    rows = worked(show(render(changed)))
    # 0.1 × ((−5 + 20) − (−45 + 30)) = 3; −log σ(0) = ln 2 = 0.69315, −log σ(3) = 0.04859
    assert rows[2] == ["+0.0000", "+15.0000"]
    assert rows[5] == ["+0.0000", "−15.0000"]
    assert rows[6] == ["+0.0000", "+3.0000"]
    assert rows[7] == ["0.6931", "0.0486"]


def test_before_training_the_loss_of_a_real_pair_is_ln_2(show, finished: Path):
    assert worked(show(finished))[7][0] == f"{math.log(2):.4f}"


@pytest.mark.parametrize("margin", [-2000.0, -1.0, 0.0, 1.0, 2000.0])
def test_the_loss_overflows_at_neither_end(margin: float):
    expected = math.log(1 + math.exp(-margin)) if abs(margin) < 100 else max(-margin, 0.0)
    assert negative_log_sigmoid(margin) == pytest.approx(expected)


def test_a_loss_that_is_not_followed_is_named_and_has_no_number(show, changed: Path):
    edit(changed / TRAINING / "worked_pair.json", lambda pair: pair.update(loss_type=["ipo"], loss_weights=[0.5]))
    page = show(render(changed))
    assert len(worked(page)) == 7
    assert "0.5 × ipo" in page.inner_text("section[aria-labelledby=update]")


def test_the_run_of_two_rounds_has_a_table_of_them(show, changed: Path):
    sampled = {"completions": 1032, "passed": 8, "seconds": 1.0}
    edit(changed / "manifest.json", lambda manifest: manifest["stages"].update(sample_1=sampled))
    note(changed, replayed_pairs=5)
    rows = show(render(changed)).locator("[aria-label=Rounds] tbody tr").all_inner_texts()
    # The second round's samples were planted, so that the manifest tells nothing of how they were drawn.
    assert [row.split() for row in rows] == [
        ["1", "1,032", "8", "16", "0", "6"],
        ["2", "–", "–", "16", "5", "6"],
    ]


def test_pairs_steps_and_completions_are_those_of_all_rounds(show, finished: Path):
    page = show(finished)
    labels = page.inner_text("section[aria-labelledby=labels]")
    assert "made 32 pairs, of all rounds together." in labels  # 16 in each of two rounds
    assert "12 steps over 28 pairs of all rounds" in page.inner_text("section[aria-labelledby=update]")
    counts = page.locator(".outcomes td data").all_inner_texts()
    assert sum(map(int, counts)) == 2 * 8 * 4  # rounds, tasks, planted completions of each


@pytest.mark.parametrize(
    ("method", "formula"), [("sft", "loss = −log π(yw)"), ("kto", "loss = 1 − σ("), ("grpo", "advantage")]
)
def test_another_method_has_its_own_formula(show, changed: Path, method: str, formula: str):
    note(changed, method=method)
    (changed / TRAINING / "worked_pair.json").unlink()
    page = show(render(changed))
    assert page.inner_text("section[aria-labelledby=update] .formula").startswith(formula)
    assert page.locator(".worked").count() == 0


def test_alerts_and_validation_are_told(show, changed: Path):
    ends = {"before": {**VALIDATION, "validation/exact_match": 0.0, "step": 0}, "selected": {**VALIDATION, "step": 3}}
    note(changed, alerts=["step 3: <b>look</b>"], selected_step=3, steps=6, averaged_steps=2, validation=ends)
    edit(changed / TRAINING / "log.json", lambda log: log.extend(ends.values()))
    page = show(render(changed))
    assert page.inner_text(".alert") == "step 3: <b>look</b>"
    text = page.inner_text("section[aria-labelledby=update]")
    assert "Selected checkpoint: step 3 (latest within one standard error of the best" in text
    assert "the mean of those after each of the last 2 steps" in text
    assert "After training is after the last step; the selected checkpoint is that of step 3." in text
    assert "On the validation tasks, exact match: 0 % before the first step, 25 % at the selected checkpoint" in text


def test_curves_have_a_second_row_where_there_was_validation():
    steps = [{"step": step, "loss": 0.5, "rewards/margins": 0.1} for step in (1, 2)]
    measured = [{"step": 1, **VALIDATION}]
    one, two = (draw_curves(log)["svg"] for log in (steps, steps + measured))
    assert (one.count(b'id="axes_'), two.count(b'id="axes_')) == (2, 5)


def test_a_log_of_nothing_that_is_drawn_still_draws():
    assert draw_curves([{"step": 1, "loss": float("nan"), "note": "x"}])["svg"]
