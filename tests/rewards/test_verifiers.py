"""A verifier of the user's own: what it is told, what it may say, and what is said of one that does not serve."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from pipelines.config import Config, RewardsConfig
from pipelines.errors import ConfigError, DataError
from pipelines.records import Task
from pipelines.rewards import score
from pipelines.rewards.verifiers import REJECTED, build_verifier

TASK = Task(
    id="t/1",
    family="t",
    key="k",
    split="train",
    prompt="Say six.",
    schema='{"type": "integer"}',
    group="sums",
    columns='{"answer": 6}',
)
OWN = """
    def longer(prompts, completions, answer, finish_reason, **columns):
        assert prompts[0] == [{"role": "user", "content": "Say six."}], prompts
        assert columns["schema"] == ['{"type": "integer"}'] * 2 and columns["group"] == ["sums", "sums"]
        assert answer == [6, 6] and finish_reason == ["stop", "length"]
        return [len(one[-1]["content"]) / 10 for one in completions]

    def none(**columns): return [None, 1.0]
    def nan(**columns): return [1.0, float("nan")]
    def text(**columns): return ["1.0", "0"]
    def few(**columns): return [1.0]
    def number(**columns): return 1.0
    def raises(**columns): raise KeyError("answers")
    constant = 3
"""


@pytest.fixture(autouse=True)
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_rewards.py").write_text(textwrap.dedent(OWN))
    monkeypatch.syspath_prepend(str(tmp_path))


def verdicts(name: str, pass_at: float = 1.0):
    verifier = build_verifier(Config(rewards=RewardsConfig(verifier=name, pass_at=pass_at)))
    return verifier(TASK, TASK.messages, [("six, it is", "stop"), ("6", "length")])


def test_a_function_of_the_users_own_decides_alone_and_is_told_what_trl_would_tell_it():
    passed, failed = verdicts("own_rewards:longer", pass_at=0.5)
    assert (passed.passed, passed.score, passed.reason) == (True, 1.0, None)
    assert not passed.parses  # noted all the same
    assert (failed.passed, failed.score, failed.tiers) == (False, 0.1, (False,))
    assert score(passed) == 1.0


def test_a_failure_that_is_good_json_says_whose_verdict_it_is():
    verifier = build_verifier(Config(rewards=RewardsConfig(verifier="own_rewards:longer", pass_at=5.0)))
    verdict = verifier(TASK, TASK.messages, [("6", "stop"), ("7", "length")])[0]
    assert (verdict.schema_valid, verdict.reason) == (True, REJECTED)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("own_rewards:none", "a score must be a finite number, got None"),
        ("own_rewards:nan", "a score must be a finite number, got nan"),
        ("own_rewards:text", "a score must be a finite number, got '1.0'"),
        ("own_rewards:few", "returned 1 scores for 2 completions"),
        ("own_rewards:number", "must return a list of scores, got 1.0"),
        ("own_rewards:raises", r"failed on task 't/1' \(KeyError: 'answers'\)"),
    ],
)
def test_what_it_may_not_say_is_one_line_with_its_name_and_the_task(name: str, message: str):
    with pytest.raises(DataError, match=f"^rewards.verifier '{name}'.*{message}"):
        verdicts(name)


@pytest.mark.parametrize("name", ["own_rewards", "own_rewards:gone", "no_such_module:f", "own_rewards:constant", ":f"])
def test_what_is_no_function_is_one_line(name: str):
    with pytest.raises(ConfigError, match=r"^rewards.verifier .*\S$"):
        build_verifier(Config(rewards=RewardsConfig(verifier=name)))


def test_without_one_json_decides():
    right, wrong = build_verifier(Config())(TASK, TASK.messages, [("6", "stop"), ("six", "stop")])
    assert (right.passed, right.score) == (True, None)
    assert not wrong.passed
