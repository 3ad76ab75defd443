"""What a sample carries of how it came about, from a policy that says what a test wants."""

from __future__ import annotations

import dataclasses

import pytest

from pipelines.config import SamplingConfig
from pipelines.samples.drawing import build_asks, draw, sample_seed
from pipelines.samples.policies import Completion
from tests.made import make_task

EXAMPLE = make_task("e", split="example", prompt="1 to 2", targets=("[1, 2]",))
TASKS = [make_task("a", prompt="1 to 3", targets=("[1, 2, 3]",)), make_task("b", family="g", prompt="A list.")]
SHOWN = (
    {"role": "user", "content": "1 to 2"},
    {"role": "assistant", "content": "[1, 2]"},
    {"role": "user", "content": "1 to 3"},
)


class Parrot:
    """Gives every seed the same answer, the last conversation first."""

    def complete(self, conversations, settings):
        for index, asked in reversed(list(enumerate(conversations))):
            one = Completion(
                text="[1, 2, 3]", finish_reason="stop", prompt_tokens=3, completion_tokens=9, logprob_nats=None
            )
            yield index, [one] * len(asked.seeds)


def drawn(**settings):
    sampling = SamplingConfig(samples_per_task=2, few_shot=1, **settings)
    asks = build_asks(TASKS, [EXAMPLE], sampling, seed=5)
    return {ask.task.id: samples for ask, samples in draw(Parrot(), asks, sampling, seed=5)}


def test_a_sample_carries_the_very_messages_it_was_drawn_under():
    found = drawn()
    assert [(one.source, one.messages) for one in found["a"]] == [("few_shot", SHOWN)] * 2
    # no example of its family, so zero-shot it is, and says so
    assert [(one.source, one.messages) for one in found["b"]] == [("zero_shot", TASKS[1].messages)] * 2


def test_a_sample_is_verified_by_its_own_task_as_it_is_drawn():
    found = drawn()
    assert [one.verdict.exact_match for one in found["a"]] == [True, True]
    assert [one.verdict.exact_match for one in found["b"]] == [None, None]


def test_seeds_are_those_of_run_task_and_index_and_decoding_is_kept():
    for one in drawn(generation={"temperature": 0.5})["b"]:
        assert one.seed == sample_seed(5, "b", one.index)
        assert one.decoding == {"max_new_tokens": 48, "generation": {"temperature": 0.5}}


def test_the_seed_of_a_sample_is_the_one_it_always_had():
    assert sample_seed(0, "range/x", 1) == 0x87634AECEC094672 >> 1  # of SHA-256("0/range/x/1")


@pytest.mark.parametrize("wanted", [range(2, 5), range(0)])
def test_only_the_wanted_indices_are_drawn(wanted: range):
    sampling = SamplingConfig(samples_per_task=2, few_shot=0)
    asks = [dataclasses.replace(ask, indices=wanted) for ask in build_asks(TASKS, [], sampling, 0)]
    assert [[one.index for one in samples] for _, samples in draw(Parrot(), asks, sampling, seed=0)] == (
        [list(wanted)] * 2 if wanted else []
    )
