"""From verdict to score, and the reward function that hands scores to TRL."""

from __future__ import annotations

import itertools
import math
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipelines.errors import ConfigError
from pipelines.records import TIERS, Verdict
from pipelines.rewards import Scoring, json_reward, score

STEEP = Scoring(parses=1e-6, root_type=1e-3, schema_valid=0.9, exact_match=0.95)


def verdict(defined: tuple[str, ...], passed: int) -> Verdict:
    tiers = {tier: position < passed for position, tier in enumerate(defined)}
    return Verdict(**{"parses": False, **tiers})


@pytest.mark.parametrize("scoring", [Scoring(), STEEP])
@pytest.mark.parametrize("undefined", list(itertools.product([True, False], repeat=3)))
def test_more_tiers_passed_is_a_higher_score_from_none_at_0_to_all_at_1(scoring, undefined):
    defined = ("parses", *itertools.compress(TIERS[1:], undefined))
    scores = [score(verdict(defined, passed), scoring) for passed in range(len(defined) + 1)]
    assert scores == sorted(set(scores))
    assert (scores[0], scores[-1]) == (0.0, 1.0)


def test_a_later_tier_buys_nothing_without_the_earlier_one():
    assert score(Verdict(parses=False, root_type=True, schema_valid=True, exact_match=True)) == 0.0


@pytest.mark.parametrize(
    ("credits_given", "complaint"),
    [
        ({"parses": 0.0}, "parses must be above 0 and at most 1, got 0.0"),
        ({"exact_match": 1.5}, "exact_match must be above 0.5 and at most 1, got 1.5"),
        ({"root_type": 0.1}, "root_type must be above 0.1"),
        ({"schema_valid": math.nan}, "schema_valid must be above 0.2"),
    ],
)
def test_credits_that_do_not_rise_are_refused(credits_given, complaint):
    with pytest.raises(ConfigError, match=complaint):
        Scoring(**credits_given)


def test_the_reward_judges_each_row_by_its_own_columns():
    rewards = json_reward(
        ["p"] * 5,
        ["[1]", "[2]", '["x"]', "nope", "```\n1\n```"],
        schema=['{"items": {"type": "integer"}}'] * 3 + [None, None],
        target=["[1]", "[1]", "[1]", None, None],
        fences=["forbid", "forbid", None, "forbid", "unwrap"],
        trainer_state=object(),
    )
    assert rewards == [1.0, 0.5, 0.2, 0.0, 1.0]


def test_a_row_that_defines_nothing_is_judged_on_parsing_alone():
    assert json_reward(["p", "p"], ["[1]", "[1"]) == [1.0, 0.0]


@pytest.mark.parametrize(
    ("message", "reward"),
    [
        ([{"role": "assistant", "content": "[1]"}], 1.0),
        ([{"role": "assistant", "content": "no"}, {"role": "assistant", "content": "[1]"}], 1.0),
        ([{"role": "assistant", "content": [{"type": "text", "text": "[1"}, {"type": "text", "text": "]"}]}], 1.0),
        ([{"role": "assistant", "content": None, "tool_calls": []}], 0.0),
        ([], 0.0),
    ],
)
def test_the_answer_of_a_conversation_is_its_last_message(message, reward):
    assert json_reward([[]], [message], target=["[1]"]) == [reward]


def test_a_column_of_another_length_is_refused():
    with pytest.raises(ValueError, match="argument"):
        json_reward(["p", "p"], ["1", "2"], target=["1"])


def test_the_reward_function_pickles_and_runs_off_the_main_thread():
    copy = pickle.loads(pickle.dumps(json_reward))  # noqa: S301 - our own bytes
    with ThreadPoolExecutor(2) as pool:
        assert pool.submit(copy, ["p"], ["[1]"], target=["[1]"]).result() == [1.0]


def test_the_scoring_of_the_reward_can_be_set():
    assert json_reward(["p"], ["[2]"], target=["[1]"], scoring=Scoring(root_type=0.4)) == [0.4]


def test_any_of_several_targets_has_the_whole_reward():
    accepted = [["[1]", "[2]"], ["[1]", "[2]"], [], None]
    assert json_reward(["p"] * 4, ["[2]", "[3]", "[3]", "[3]"], targets=accepted) == [1.0, 0.2, 1.0, 1.0]
