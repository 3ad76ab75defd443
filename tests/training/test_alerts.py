from __future__ import annotations

from transformers import TrainerControl, TrainerState, TrainingArguments

from pipelines.config import AlertsConfig
from pipelines.training.alerts import Alerts


def said_of(log: list[dict[str, float]], **settings) -> dict[str, str]:
    alerts = Alerts(AlertsConfig(**settings), beta=0.1, preferred_tokens=10.0)
    for count in range(1, len(log) + 1):
        state = TrainerState(log_history=log[:count], global_step=count, is_world_process_zero=True)
        alerts.on_log(TrainingArguments(use_cpu=True), state, TrainerControl())
    return alerts.said


def step(chosen: float = 0.0, accuracy: float = 0.5) -> dict[str, float]:
    return {"rewards/chosen": chosen, "rewards/accuracies": accuracy}


def test_a_healthy_training_says_nothing():
    assert said_of([step(0.1, 0.9)] * 30) == {}


def test_a_fall_of_the_chosen_is_told_in_nats_once():
    # a reward of -0.6 at beta 0.1 is a fall of 6 nats
    assert said_of([step(-0.6)] * 30) == {
        "chosen": "step 10: chosen completions have lost 6.0 nats on average; add `sft` to training.dpo.loss_type, or "
        "lower the learning rate"
    }


def test_pairs_all_ranked_right_are_told_when_they_have_been_long_enough():
    assert said_of([step(accuracy=0.5), *[step(accuracy=1.0)] * 30], ranked_right_steps=12)["ranked"].startswith(
        "step 13: every pair of the last 12 steps is ranked right"
    )


def test_drifting_lengths_are_compared_with_the_preferred_ones():
    log = [{"validation/mean_tokens": 40.0}, {"validation/mean_tokens": 12.0}, {"validation/mean_tokens": 4.0}]
    assert said_of(log)["length"] == (
        "step 3: validation completions have 4 tokens on average, 0.4 times as many as the preferred ones"
    )
