from __future__ import annotations

import yaml

from pipelines.preferences.card import GENERATED_BEGIN, GENERATED_END
from pipelines.preferences.publishing import merge_cards


def card(front: dict, body: str) -> str:
    return f"---\n{yaml.safe_dump(front)}---\n{body}"


NEW = card({"license": "apache-2.0", "configs": ["new"]}, f"\n{GENERATED_BEGIN}\n\nfresh\n\n{GENERATED_END}\n")


def test_a_first_push_takes_the_generated_card_as_it_is():
    assert merge_cards("", NEW) == NEW


def test_text_around_the_generated_part_stays():
    old = card({}, f"# Mine\n\n{GENERATED_BEGIN}\nstale\n{GENERATED_END}\n\nThanks.\n")
    merged = merge_cards(old, NEW)
    assert "# Mine" in merged
    assert "Thanks." in merged
    assert "fresh" in merged
    assert "stale" not in merged


def test_a_card_written_by_hand_altogether_keeps_every_word():
    merged = merge_cards(card({"license": "mit"}, "# All mine\n"), NEW)
    assert merged.index("# All mine") < merged.index("fresh")


def test_front_matter_about_the_files_is_new_and_the_rest_is_the_persons():
    merged = merge_cards(card({"license": "mit", "configs": ["old"], "dataset_info": "stale"}, ""), NEW)
    front = yaml.safe_load(merged.split("---\n")[1])
    assert front == {"license": "mit", "configs": ["new"]}
