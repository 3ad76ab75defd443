"""A store filled with the samples that are wanted: shared out over processes, kept as they are drawn.

Reads tasks and config; writes a store that holds exactly the wanted samples, whatever was killed on the way and however
many processes took part. What the store holds that is no longer asked for (of another model, prompt or setting) is set
aside and counted. Rounds and evaluation differ in what they ask for, nothing else. In memory are a part of the tasks,
and of every task that has samples its id, their indices and how many pass: a few hundred bytes, and no text.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import itertools
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from accelerate import PartialState

from pipelines.config import Config
from pipelines.errors import DataError, RunError
from pipelines.models import adapter_identity, attach_adapter, load_model, model_identity
from pipelines.rewards.verifiers import Verifier, build_verifier
from pipelines.run.folder import Round
from pipelines.run.processes import process_group
from pipelines.samples import store
from pipelines.samples.drawing import Ask, Phase, draw
from pipelines.samples.policies import LocalPolicy, Policy
from pipelines.samples.progress import SamplingProgress
from pipelines.samples.proposals import Proposals
from pipelines.samples.server import ServerPolicy
from pipelines.samples.store import Held

_AT_A_TIME = 1024
"""Asks that are in memory at once, with their prompts."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What is wanted of a policy, and where it goes."""

    folder: Path
    phases: Sequence[Phase]
    """One after the other, each drawn to its end before the next is asked."""
    seed: int
    identity: dict[str, Any]
    """Of the policy: what it was drawn from is set aside when it is another one."""
    open_policy: Callable[[], Policy]
    """Called when there is something to draw; loading a model takes seconds."""
    verifier: Verifier
    pilot: int = 0
    """So many phases come first, of a few tasks."""
    review: Callable[[Held, float], None] = lambda held, seconds: None
    """Called, in every process, when these are done, with what is stored and how long they took."""


def sample_round(config: Config, run: Round) -> dict[str, Any]:
    """Bring the round's store to what the settings ask for; returns counts, speed and yield, empty but in the main one.

    Runs once in every process that `accelerate launch` starts. Raises RunError when another run holds the folder,
    DataError for a damaged store, or when no task of the pilot has a right answer.
    """
    if next(run.run.iterate_tasks("train"), None) is None:
        raise DataError(f"{run.run.tasks_file}: no task to train on; raise tasks.families.*.train or add tasks.files")
    adapter = run.initial_adapter
    identity = policy_identity(config, adapter)
    proposals = Proposals(config, run)
    pilot, phases = proposals.pilot(), proposals.phases()
    facts = collect(
        Work(
            folder=run.samples,
            phases=[*pilot, *phases],
            seed=config.seed,
            identity=identity,
            open_policy=lambda: open_policy(config, adapter),
            verifier=build_verifier(config),
            pilot=len(pilot),
            review=proposals.review,
        )
    )
    if facts:
        # The base model: hashing its half a gigabyte once is enough.
        run.run.record(model={name: value for name, value in identity.items() if name != "adapter_sha256"})
        facts |= proposals.facts()
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
    open_once = functools.cache(work.open_policy)
    with contextlib.ExitStack() as holding:
        repaired = unused = 0
        if state.is_main_process:
            holding.enter_context(store.locked(work.folder))
            store.refuse_others(work.folder)
            repaired = store.repair(work.folder)
            held, unused = _take_stock(work)
        state.wait_for_everyone()
        if not state.is_main_process:
            holding.enter_context(store.locked(work.folder, state.process_index))
            held = Held.read(work.folder)
        samples_before, tokens_before, seconds = held.samples, held.tokens, 0.0
        for number, phase in enumerate(work.phases, start=1):
            state.wait_for_everyone()  # nobody appends before everybody has read
            started = time.monotonic()
            _draw(work, phase, held, open_once, state)
            state.wait_for_everyone()
            seconds += time.monotonic() - started
            held = Held.read(work.folder)
            if number == work.pilot:
                work.review(held, seconds)
        if not state.is_main_process:
            return {}
        if any(_missing(held, ask) for phase in work.phases for ask in phase.asks(held)):
            raise RunError(f"{work.folder}: not all that was drawn can be read; run the same command again")
        tokens = held.tokens - tokens_before
        return {
            **held.facts(),
            "processes": state.num_processes,
            "from_earlier": samples_before,
            "set_aside": unused,
            "torn_lines_repaired": repaired,
            "tokens_per_second": round(tokens / seconds) if tokens else None,
        }


def _settings(work: Work, phase: Phase, ask: Ask) -> dict[str, Any]:
    """All that decides what is drawn under a prompt. JSON's own types, as it is read back."""
    return {
        "policy": work.identity,
        "messages": list(ask.messages),
        "decoding": ask.decoding(phase.settings),
        "seed": work.seed,
    }


def _missing(held: Held, ask: Ask) -> list[range]:
    return held.missing(ask.task.id, ask.source, ask.indices)


def _take_stock(work: Work) -> tuple[Held, int]:
    """What the store holds of all that could be asked for; how many other samples were set aside."""
    wanted = {
        _digest(ask.task.id, ask.source, _settings(work, phase, ask))
        for phase in work.phases
        for ask in phase.asks(Held())
    }
    held = Held()

    def is_wanted(batch: store.Batch) -> bool:
        known = _digest(batch.task_id, batch.source, batch.settings) in wanted
        if known:
            held.add(batch)
        return known

    return held, store.set_aside(work.folder, is_wanted)


def _digest(*values: Any) -> bytes:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).digest()[:16]


def _shares(asks: Iterable[Ask], held: Held, state: PartialState) -> Iterator[list[Ask]]:
    """This process's part of what is missing, so many at a time. Every process must have read the same store."""
    missing = (dataclasses.replace(ask, indices=indices) for ask in asks for indices in _missing(held, ask))
    own = itertools.islice(missing, state.process_index, None, state.num_processes)
    while share := list(itertools.islice(own, _AT_A_TIME)):
        # Tasks of one family share their examples: side by side they share that computation too.
        yield sorted(share, key=lambda ask: ask.task.family)


def _draw(work: Work, phase: Phase, held: Held, open_once: Callable[[], Policy], state: PartialState) -> None:
    """Draw this process's share of what the phase still wants; store each task's at once."""
    expected = sum(len(ask.indices) for share in _shares(phase.asks(held), held, state) for ask in share)
    if not expected:
        return
    policy = open_once()
    with SamplingProgress(expected, is_shown=state.is_main_process) as progress:
        for share in _shares(phase.asks(held), held, state):
            for ask, samples in draw(policy, share, phase.settings, seed=work.seed, verifier=work.verifier):
                batch = store.Batch(settings=_settings(work, phase, ask), samples=samples)
                store.append(work.folder, state.process_index, batch)
                progress.add(samples)
