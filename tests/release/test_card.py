from __future__ import annotations

import yaml

from pipelines.config import config_from_dict
from pipelines.records import Verdict
from pipelines.release.card import render_model_card
from pipelines.rewards.rates import summarise

RIGHT = Verdict(parses=True, root_type=True, schema_valid=True, exact_match=True)
WRONG = Verdict(parses=True, root_type=True, schema_valid=True, exact_match=False)


def rates(verdicts: list[Verdict]) -> dict:
    return summarise(("zero_shot", "range", verdict) for verdict in verdicts)


METRICS = {
    "before": rates([WRONG] * 4),
    "after": rates([RIGHT] * 3 + [WRONG]),
    "trained_families": [],
    "seed": 7,
    "interval": "Wilson, 95 %",
}


def test_the_card_tells_rates_with_intervals_and_what_was_never_trained_on():
    card = render_model_card(config_from_dict({"seed": 7}), {}, METRICS, merged=False)
    assert "| range (never trained on), zero-shot | 100% (51% to 100% of 4) → 100% (51% to 100% of 4) | 0%" in card
    assert "75% (30% to 95% of 4)" in card


def test_front_matter_names_base_and_licence_of_the_bundled_model_only():
    bundled = render_model_card(config_from_dict({}), {}, None, merged=True)
    other = render_model_card(config_from_dict({"model": {"name": "a/b"}}), {}, None, merged=False)
    front = yaml.safe_load(bundled.split("---")[1])
    assert (front["license"], front["library_name"]) == ("apache-2.0", "transformers")
    assert "license" not in yaml.safe_load(other.split("---")[1])


def test_alerts_of_the_training_stand_in_the_card():
    manifest = {"stages": {"train_1": {"alerts": ["step 10: chosen completions have lost 6.0 nats"]}}}
    assert "- step 10: chosen completions have lost 6.0 nats" in render_model_card(
        config_from_dict({}), manifest, None, merged=False
    )
