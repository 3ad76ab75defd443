"""Where a round's right answers may come from: the policy's own answers first, then proposals, in the config's order.

Reads the run's tasks and what its store holds so far; returns phases of drawing. Every task is asked under its own
prompt; a task that has no right answer yet is asked again: few-shot, under its schema's grammar, or from just before
the mistake of an answer it has. A pilot of a few tasks goes through all of it first: a proposal that is never right
there is not tried on the others, and where nothing is right the sampling ends with what to change.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import heapq
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator
from typing import Any, cast

from transformers import PreTrainedTokenizerBase

from pipelines.config import PROPOSALS, Config, ProposalConfig, SamplingConfig
from pipelines.errors import DataError
from pipelines.models import load_tokenizer
from pipelines.records import Sample, Source, Task
from pipelines.rewards import pins_answer
from pipelines.run.folder import Round
from pipelines.run.processes import is_main_process
from pipelines.samples.drawing import Ask, Phase, build_asks
from pipelines.samples.grammars import refused_keyword
from pipelines.samples.repairs import Cut, best_cut
from pipelines.samples.store import Held, read_samples
from pipelines.tasks import build_prompt, solved_examples

_FIRST_INDEX = {"few_shot": 1000, "grammar": 2000, "repair": 3000}
_LEAST_TRIED = 8
"""Tasks of the pilot on which a proposal must have failed before it is given up."""
_NAMES = {"zero_shot": "zero-shot", "few_shot": "few-shot", "grammar": "under the grammar", "repair": "by repair"}

Draws = Callable[[Held, Container[str] | None], Iterator[Ask]]
"""What one source asks for: of those tasks, or of all."""


class Proposals:
    """The phases of one round."""

    def __init__(self, config: Config, place: Round) -> None:
        """Goes through the tasks once."""
        self._config, self._place, self._run = config, place, place.run
        sampling = config.sampling
        most = max(sampling.few_shot, *(one.examples for one in sampling.proposals.values()), 0)
        self._examples = solved_examples(self._run.iterate_tasks("example"), most)
        self._tasks = sum(1 for _ in self._run.iterate_tasks("train"))
        wants_pilot = 0 < 4 * sampling.pilot <= self._tasks
        self._chosen = frozenset(self._spread(sampling.pilot)) if wants_pilot else frozenset[str]()

    def _spread(self, size: int) -> list[str]:
        """The ids of so many tasks, the same ones whatever their order."""
        ids = (task.id for task in self._run.iterate_tasks("train"))
        return heapq.nsmallest(size, ids, key=lambda name: hashlib.sha256(f"pilot/{name}".encode()).digest())

    def pilot(self) -> list[Phase]:
        """All phases, of a few tasks; none where there is no pilot."""
        return [self._phase(*source, self._chosen) for source in self._sources()] if self._chosen else []

    def phases(self) -> list[Phase]:
        """All phases, of all tasks."""
        return [self._phase(*source, None) for source in self._sources()]

    def _sources(self) -> Iterator[tuple[SamplingConfig, Draws]]:
        sampling = self._config.sampling
        yield sampling, self._own
        for name, proposal in sampling.proposals.items():
            settings = dataclasses.replace(
                sampling, samples_per_task=proposal.samples_per_task, generation=proposal.generation
            )
            for step in range(2 * proposal.levels if name == "repair" else 1):
                yield settings, functools.partial(self._proposed, name, proposal, step)

    def _phase(self, settings: SamplingConfig, draws: Draws, among: Container[str] | None) -> Phase:
        return Phase(settings=settings, asks=lambda held: draws(held, among))

    def _own(self, held: Held, among: Container[str] | None) -> Iterator[Ask]:
        """Every task under its own prompt."""
        tasks = (task for task in self._run.iterate_tasks("train") if among is None or task.id in among)
        return build_asks(tasks, self._examples, self._config.sampling, self._config.seed)

    def _proposed(
        self, name: str, proposal: ProposalConfig, step: int, held: Held, among: Container[str] | None
    ) -> Iterator[Ask]:
        """Those tasks again that have no right answer yet."""
        if among is None and self._is_given_up(name, held):
            return
        first = _FIRST_INDEX[name] + step * proposal.samples_per_task
        indices = range(first, first + proposal.samples_per_task)
        stored = read_samples(self._place.samples) if name == "repair" and held.counts else None
        for own in self._own(held, among):
            task = own.task
            if held.passed(task.id):
                continue
            messages, source = build_prompt(task, self._examples, proposal.examples)
            ask = Ask(task=task, source=cast("Source", name), messages=messages, indices=indices)
            if name == "repair":
                ask = dataclasses.replace(ask, messages=own.messages)
            under_grammar = name == "grammar" or (name == "repair" and step % 2 == 1)  # first freely
            if (name == "few_shot" and source != "few_shot") or (under_grammar and why_no_grammar(task, self._config)):
                continue
            if under_grammar:
                ask = dataclasses.replace(ask, schema=task.schema)
            if stored is not None and held.missing(task.id, ask.source, indices):
                cut = self._cut(ask, stored[task.id])
                if cut is None:
                    continue
                ask = dataclasses.replace(ask, prefix=cut.prefix, forbidden=cut.mistakes)
            yield ask

    def _cut(self, ask: Ask, samples: Iterable[Sample]) -> Cut | None:
        """Where to go on from in what the sources before this one left."""
        names = list(self._config.sampling.proposals)
        before = {"zero_shot", *names[: names.index("repair")]}
        answers = [
            one
            for one in samples
            if one.messages == ask.messages and (one.source in before or one.index < ask.indices.start)
        ]
        return best_cut(ask.task, answers, self._tokenizer, self._config)

    @functools.cached_property
    def _tokenizer(self) -> PreTrainedTokenizerBase:
        return load_tokenizer(self._config.model)

    def _is_given_up(self, name: str, held: Held) -> bool:
        """Whether it was tried in the pilot, and never right."""
        asked = self._chosen & held.counts.get(cast("Source", name), {}).keys()
        right = any(held.passed(task_id, cast("Source", name)) for task_id in asked)
        return len(asked) >= _LEAST_TRIED and not right

    def review(self, held: Held, seconds: float) -> None:
        """Say what the pilot found, and what the rest will come to; DataError when there is nothing to go on for."""
        right = {name: sum(bool(held.passed(one, name)) for one in self._chosen) for name in held.counts}
        found = sum(bool(held.passed(one)) for one in self._chosen)
        size = len(self._chosen)
        if not found:
            raise DataError(
                f"pilot: none of {size} tasks has a right answer, by {', '.join(_NAMES[name] for name in right)}: "
                f"{held.failures()}; {self._remedy(held)}; --set sampling.pilot=0 goes on all the same"
            )
        if is_main_process():
            each = ", ".join(f"{count} {_NAMES[name]}" for name, count in right.items())
            left_out = [_NAMES[name] for name in self._config.sampling.proposals if self._is_given_up(name, held)]
            minutes = seconds * (self._tasks - size) / size / 60  # none where the pilot was drawn before
            print(
                f"  pilot, {size} of {self._tasks} tasks: {found} have a right answer ({each})"
                f"{'; not tried on the others: ' + ', '.join(left_out) if left_out else ''}; "
                f"expected: {found * self._tasks / size:.0f} tasks with one"
                f"{f', in {minutes:.0f} minutes or less' if minutes > 1 else ''}",
                flush=True,
            )

    def _remedy(self, held: Held) -> str:
        missing = [name for name in PROPOSALS if name not in self._config.sampling.proposals]
        if held.cut_off * 2 > held.samples:
            return "most are cut off: raise sampling.max_new_tokens" + (
                f", or add {' and '.join(missing)} to sampling.proposals" if missing else ""
            )
        if missing:
            return f"add {' and '.join(missing)} to sampling.proposals"
        return "use easier tasks, or a larger model"

    def facts(self) -> dict[str, Any]:
        """For how many training tasks there is no grammar, by the reason; nothing where none was asked for."""
        if not {"grammar", "repair"} & self._config.sampling.proposals.keys():
            return {}
        found = Counter(why_no_grammar(task, self._config) for task in self._run.iterate_tasks("train"))
        reasons = {reason: count for reason, count in found.items() if reason}
        if reasons:
            print("  no grammar: " + ", ".join(f"{count} tasks ({reason})" for reason, count in reasons.items()))
        return {"tasks_without_grammar": reasons}


def why_no_grammar(task: Task, config: Config) -> str | None:
    """Why a task's answer is not drawn under its schema's grammar; None where it can be."""
    if task.schema is None:
        return "no schema"
    names_answers = task.targets or task.answer_schema or config.rewards.verifier
    if not names_answers and pins_answer(task.schema):
        return "the schema spells out the answer"
    return refused_keyword(task.schema, assert_formats=config.tasks.assert_formats)
