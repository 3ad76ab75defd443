"""A store filled with the samples that are wanted: shared out over processes, kept as they are drawn.

Reads tasks and config; writes a store that holds exactly the wanted samples, whatever was killed on the way and however
many processes took part. What the store holds that is no longer asked for (of another model, prompt or setting) is set
aside and counted. Rounds and evaluation differ in what they ask for, nothing else.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from accelerate import PartialState

from pipelines.config import Config, SamplingConfig
from pipelines.errors import DataError, RunError
from pipelines.models import adapter_identity, attach_adapter, load_model, model_identity
from pipelines.records import Message, Source
from pipelines.run.folder import Round
from pipelines.run.processes import process_group
from pipelines.samples import store
from pipelines.samples.drawing import Ask, build_asks, decoding_of, draw
from pipelines.samples.policies import LocalPolicy, Policy
from pipelines.samples.progress import SamplingProgress
from pipelines.samples.server import ServerPolicy

_AT_A_TIME = 4096
"""Asks whose prompts are in memory at once."""

Place = tuple[str, Source]
"""A task and where its samples come from."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What is wanted of a policy, and where it goes."""

    folder: Path
    asks: Sequence[Ask]
    settings: SamplingConfig
    seed: int
    identity: dict[str, Any]
    """Names the policy for good."""
    open_policy: Callable[[], Policy]
    """Not called where nothing is missing."""
    assert_formats: bool = False


def sample_round(config: Config, run: Round) -> dict[str, Any]:
    """Draw the round's samples of the training tasks; returns counts, speed and yield, empty but in the main process.

    Runs once in every process that `accelerate launch` starts. Raises RunError when another run holds the folder,
    DataError for a damaged store.
    """
    tasks = run.run.load_tasks()
    trained = [task for task in tasks if task.split == "train"]
    if not trained:
        raise DataError(f"{run.run.tasks_file}: no task to train on; raise tasks.families.*.train or add tasks.files")
    adapter = run.initial_adapter
    identity = policy_identity(config, adapter)
    facts = collect(
        Work(
            folder=run.samples,
            asks=build_asks(trained, tasks, config.sampling, config.seed),
            settings=config.sampling,
            seed=config.seed,
            identity=identity,
            open_policy=lambda: open_policy(config, adapter),
            assert_formats=config.tasks.assert_formats,
        )
    )
    if facts:
        # The base model: hashing its half a gigabyte once is enough.
        run.run.record(model={name: value for name, value in identity.items() if name != "adapter_sha256"})
    return facts


def open_policy(config: Config, adapter: Path | None = None) -> Policy:
    """The policy that `sampling` names: a server, or the model in this process, trained weights on it if there are."""
    if config.sampling.server is not None:
        return ServerPolicy(config.sampling.server)
    return LocalPolicy(*(attach_adapter(config.model, adapter) if adapter else load_model(config.model)))


def policy_identity(config: Config, adapter: Path | None = None) -> dict[str, Any]:
    """What names the policy for good: no secret, no address."""
    server = config.sampling.server
    if server is not None:
        return ServerPolicy(server).identity()
    return local_identity(config, adapter)


def local_identity(config: Config, adapter: Path | None = None) -> dict[str, Any]:
    """What names the model in this process, and the trained weights on it."""
    identity = model_identity(config.model)
    return {**identity, "adapter_sha256": adapter_identity(adapter)["sha256"]} if adapter else identity


def collect(work: Work) -> dict[str, Any]:
    """Bring the store up to what is wanted; returns counts, speed and yield, empty but in the main process."""
    state = process_group()
    with contextlib.ExitStack() as held:
        repaired = unused = 0
        if state.is_main_process:
            held.enter_context(store.locked(work.folder))
            store.refuse_others(work.folder)
            repaired = store.repair(work.folder)
            unused = _set_aside(work)
        state.wait_for_everyone()
        if not state.is_main_process:
            held.enter_context(store.locked(work.folder, state.process_index))
        held_before = _Held.read(work.folder)
        state.wait_for_everyone()  # nobody appends before everybody has read
        share = _share(work.asks, held_before, state)
        started = time.monotonic()
        if share:
            _draw(work, share, state)
        state.wait_for_everyone()
        seconds = time.monotonic() - started
        if not state.is_main_process:
            return {}
        now = _Held.read(work.folder)
        if any(now.missing(ask) for ask in work.asks):
            raise RunError(f"{work.folder}: not all that was drawn can be read; run the same command again")
        tokens = now.tokens - held_before.tokens
        return {
            "tasks": len({ask.task.id for ask in work.asks}),
            **now.facts(),
            "processes": state.num_processes,
            "from_earlier": held_before.samples,
            "set_aside": unused,
            "torn_lines_repaired": repaired,
            "tokens_per_second": round(tokens / seconds) if tokens else None,
        }


def _settings(work: Work, messages: Sequence[Message]) -> dict[str, Any]:
    """All that decides what is drawn under a prompt. JSON's own types, as it is read back."""
    return {
        "policy": work.identity,
        "messages": list(messages),
        "decoding": decoding_of(work.settings),
        "seed": work.seed,
    }


def _set_aside(work: Work) -> int:
    wanted = {(ask.task.id, ask.source): ask for ask in work.asks}

    def is_wanted(batch: store.Batch) -> bool:
        ask = wanted.get((batch.task_id, batch.samples[0].source))
        return ask is not None and batch.settings == _settings(work, ask.messages)

    return store.set_aside(work.folder, is_wanted)


@dataclasses.dataclass(slots=True)
class _Held:
    """What a store holds, without the texts."""

    indices: dict[Place, set[int]] = dataclasses.field(default_factory=dict)
    passed: dict[Place, int] = dataclasses.field(default_factory=dict)
    tokens: int = 0

    @classmethod
    def read(cls, folder: Path) -> _Held:
        held = cls()
        for batch in store.read_batches(folder):
            for sample in batch.samples:
                place = (sample.task_id, sample.source)
                held.indices.setdefault(place, set()).add(sample.index)
                held.passed[place] = held.passed.get(place, 0) + sample.verdict.passed
                held.tokens += sample.completion_tokens
        return held

    @property
    def samples(self) -> int:
        return sum(map(len, self.indices.values()))

    def missing(self, ask: Ask) -> list[range]:
        """The indices to draw, in unbroken runs: a damaged store may have lost some in the middle."""
        have = self.indices.get((ask.task.id, ask.source), set())
        lacking = [index for index in ask.indices if index not in have]
        breaks = [place for place in range(1, len(lacking)) if lacking[place] != lacking[place - 1] + 1]
        edges = [0, *breaks, len(lacking)]
        return [range(lacking[first], lacking[last - 1] + 1) for first, last in itertools.pairwise(edges) if lacking]

    def facts(self) -> dict[str, Any]:
        """Counts, and what a thousand sampled tokens yielded: tasks with both kinds, which is what pairs need."""
        both = sum(0 < self.passed[place] < len(indices) for place, indices in self.indices.items())
        return {
            "completions": self.samples,
            "passed": sum(self.passed.values()),
            "tokens": self.tokens,
            "tasks_with_both_kinds": both,
            "tasks_with_both_kinds_per_1000_tokens": round(1000 * both / max(1, self.tokens), 2),
        }


def _share(asks: Sequence[Ask], held: _Held, state: PartialState) -> list[Ask]:
    """This process's part of what is missing. Every process must have read the same store."""
    missing = [dataclasses.replace(ask, indices=indices) for ask in asks for indices in held.missing(ask)]
    # Tasks of one family share their examples: side by side they share that computation too.
    missing.sort(key=lambda ask: ask.task.family)
    return missing[state.process_index :: state.num_processes]


def _draw(work: Work, share: list[Ask], state: PartialState) -> None:
    """Draw what the share still wants; store each task's at once."""
    policy = work.open_policy()
    expected = sum(len(ask.indices) for ask in share)
    with SamplingProgress(expected, is_shown=state.is_main_process) as progress:
        # Prompts are rendered a part at a time, so that memory does not grow with the number of tasks.
        for first in range(0, len(share), _AT_A_TIME):
            part = share[first : first + _AT_A_TIME]
            for ask, samples in draw(policy, part, work.settings, seed=work.seed, assert_formats=work.assert_formats):
                batch = store.Batch(settings=_settings(work, ask.messages), samples=samples)
                store.append(work.folder, state.process_index, batch)
                progress.add(samples)
