"""Where right answers come from, on a policy that says what it is told to: order, pilot, repair, and going on."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from pipelines.config import Config, ProposalConfig, SamplingConfig, TasksConfig
from pipelines.errors import DataError
from pipelines.preferences.pairing import build_pairs
from pipelines.records import Sample
from pipelines.rewards.verifiers import build_verifier
from pipelines.run.folder import Round, Run
from pipelines.samples.collecting import Work, collect
from pipelines.samples.policies import Completion, Conversation
from pipelines.samples.proposals import Proposals, why_no_grammar
from pipelines.samples.store import read_samples
from pipelines.tasks.splits import write_tasks
from tests.tiny import tiny_tokenizer

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "n": {"type": "integer"}},
    "required": ["city", "n"],
    "additionalProperties": False,
}
GRAMMAR = ProposalConfig(samples_per_task=3)
REPAIR = ProposalConfig(samples_per_task=2, levels=2)
TOKENIZER = tiny_tokenizer()
Say = Callable[[Conversation, int], str]


@dataclasses.dataclass
class Scripted:
    """A policy that says what a function makes of the conversation; it breaks down after so many conversations."""

    say: Say
    lasts: int = 10**6
    asked: Counter[str] = dataclasses.field(default_factory=Counter)

    def complete(
        self, conversations: Sequence[Conversation], settings: SamplingConfig
    ) -> Iterator[tuple[int, list[Completion]]]:
        for place, one in enumerate(conversations):
            if self.asked.total() == self.lasts:
                raise RuntimeError("out of order")
            kind = "repair" if one.prefix else "grammar" if one.schema else "own"
            self.asked[f"{kind} {one.messages[-1]['content']}"] += 1
            begun = TOKENIZER.decode(one.prefix)
            texts = [begun + self.say(one, number) for number in range(len(one.seeds))]
            yield place, [self._completion(text, one.schema) for text in texts]

    def _completion(self, text: str, schema: str | None) -> Completion:
        tokens = (*TOKENIZER.encode(text), TOKENIZER.eos_token_id)
        return Completion(
            text=text,
            finish_reason="stop",
            prompt_tokens=5,
            completion_tokens=len(tokens),
            logprob_nats=-1.0,
            tokens=tokens,
            allowed_nats=-0.5 if schema else None,
        )


@pytest.fixture
def place(tiny_folder: Path, tmp_path: Path) -> Callable[..., tuple[Config, Round]]:
    """A run of as many tasks as asked for, each wanting a city of its own, and its only round."""

    def build(count: int, proposals: dict[str, ProposalConfig], **sampling) -> tuple[Config, Round]:
        rows = [
            {"prompt": f"City {n}?", "schema": SCHEMA, "target": {"city": f"C{n}", "n": n}, "split": "train"}
            for n in range(count)
        ]
        (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, rows)))
        config = Config(
            model=dataclasses.replace(Config().model, name=str(tiny_folder)),
            tasks=TasksConfig(files=(str(tmp_path / "mine.jsonl"),)),
            sampling=SamplingConfig(samples_per_task=2, few_shot=0, proposals=proposals, **sampling),
        )
        run = Run.open(tmp_path / "run", config)
        write_tasks(config, run)
        return config, run.round(1)

    return build


def draw(config: Config, place: Round, policy: Scripted) -> tuple[dict[str, list[Sample]], dict]:
    """What the round's store holds afterwards, by request, and the facts."""
    proposals = Proposals(config, place)
    pilot = proposals.pilot()
    facts = collect(
        Work(
            folder=place.samples,
            phases=[*pilot, *proposals.phases()],
            seed=0,
            identity={"name": "scripted"},
            open_policy=lambda: policy,
            verifier=build_verifier(config),
            pilot=len(pilot),
            review=proposals.review,
        )
    )
    stored = read_samples(place.samples)
    return {one[0].messages[-1]["content"]: one for one in stored.values()}, facts


def number(conversation: Conversation) -> int:
    return int(conversation.messages[-1]["content"].split()[1].rstrip("?"))


def stubborn(conversation: Conversation, slot: int) -> str:
    """Even tasks are right by themselves, the third under the grammar; the others need their `n` repaired, in two
    steps: the city comes right first."""
    n = number(conversation)
    right = json.dumps({"city": f"C{n}", "n": n})
    if n % 2 == 0:
        return right
    if conversation.prefix:
        begun = TOKENIZER.decode(conversation.prefix)
        rest = right[len(begun) :]
        return rest if '"n": ' in begun else rest.replace(f'"n": {n}', '"n": x')
    if conversation.schema:
        return right if n == 3 else json.dumps({"city": "Rome", "n": 0})
    return "Sure! Here it is."


def test_a_task_is_asked_again_only_until_it_has_a_right_answer(place):
    config, run = place(6, {"grammar": GRAMMAR, "repair": REPAIR})
    policy = Scripted(stubborn)
    stored, facts = draw(config, run, policy)
    assert [policy.asked[f"own City {n}?"] for n in range(6)] == [1] * 6
    assert [policy.asked[f"grammar City {n}?"] for n in range(6)] == [0, 1, 0, 1, 0, 1]
    assert [policy.asked[f"repair City {n}?"] for n in range(6)] == [0, 2, 0, 0, 0, 2]  # freely, then under the grammar
    assert Counter(one.source for one in stored["City 3?"]) == {"zero_shot": 2, "grammar": 3}
    assert all(any(one.verdict.passed for one in samples) for samples in stored.values())
    assert facts["tasks_without_grammar"] == {} if "tasks_without_grammar" in facts else True


def test_a_repair_goes_on_from_before_the_mistake_and_is_paired_with_what_it_was_made_of(place):
    config, run = place(2, {"grammar": GRAMMAR, "repair": REPAIR})
    stored, _ = draw(config, run, Scripted(stubborn))
    repaired = [one for one in stored["City 1?"] if one.source == "repair"]
    assert {one.completion[: one.prefix_tokens] for one in repaired} == {'{"city": "', '{"city": "C1", "n": '}
    (task,) = (task for task in run.run.iterate_tasks("train") if task.prompt == "City 1?")
    preferences = dataclasses.replace(config.preferences, min_pairs=1, max_pairs_per_task=1)
    ((pair,), _) = build_pairs(
        [task], {task.id: stored["City 1?"]}, lambda one: float(one.verdict.passed), preferences, 0
    )
    chosen, rejected = (
        {one.index: one for one in stored["City 1?"]}[index] for index in (pair.chosen_index, pair.rejected_index)
    )
    assert chosen.completion == '{"city": "C1", "n": 1}'
    assert rejected.completion[: chosen.prefix_tokens] == chosen.completion[: chosen.prefix_tokens]


@pytest.mark.parametrize("lasts", [1, 7, 9, 10, 12])
def test_a_sampling_that_broke_down_goes_on_and_draws_nothing_twice(place, lasts: int):
    config, run = place(6, {"grammar": GRAMMAR, "repair": REPAIR})
    with pytest.raises(RuntimeError, match="out of order"):
        draw(config, run, Scripted(stubborn, lasts=lasts))
    rest = Scripted(stubborn)
    again, facts = draw(config, run, rest)
    assert facts["set_aside"] == 0
    assert rest.asked.total() == 6 + 3 + 4 - lasts
    assert sum(map(len, again.values())) == 6 * 2 + 3 * 3 + 4 * 2


def test_what_never_helps_in_the_pilot_is_not_tried_on_the_others(place, capsys):
    def say(conversation: Conversation, slot: int) -> str:
        n = number(conversation)
        return json.dumps({"city": f"C{n}", "n": n}) if n % 2 == 0 and not conversation.schema else "no"

    config, run = place(80, {"grammar": GRAMMAR}, pilot=20)
    policy = Scripted(say)
    draw(config, run, policy)
    tried = [name for name in policy.asked if name.startswith("grammar")]
    assert 8 <= len(tried) < 20
    said = capsys.readouterr().out
    assert f"pilot, 20 of 80 tasks: {20 - len(tried)} have a right answer" in said
    assert "not tried on the others: under the grammar" in said


def test_a_hopeless_pilot_ends_the_sampling_with_what_to_change(place):
    config, run = place(80, {"grammar": GRAMMAR}, pilot=20)
    policy = Scripted(lambda conversation, slot: "I cannot.")
    with pytest.raises(DataError, match=r"none of 20 tasks .* 100 unexpected.* add few_shot and repair .*pilot=0"):
        draw(config, run, policy)
    assert policy.asked.total() == 40  # and no more


@pytest.mark.parametrize(
    ("schema", "targets", "why"),
    [
        (SCHEMA, True, None),
        ({"type": "array", "uniqueItems": True}, False, "uniqueItems"),
        ({"enum": [1, 2]}, False, "the schema spells out the answer"),
        ({"enum": [1, 2]}, True, None),
        (None, True, "no schema"),
    ],
)
def test_a_task_has_no_grammar_where_it_would_be_approximated_or_give_the_answer_away(place, schema, targets, why):
    config, run = place(1, {})
    (task,) = run.run.iterate_tasks("train")
    asked = dataclasses.replace(
        task, schema=None if schema is None else json.dumps(schema), targets=task.targets if targets else ()
    )
    assert why_no_grammar(asked, config) == why
