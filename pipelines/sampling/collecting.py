"""The run's training completions: shared out over processes, journaled as they are drawn, gathered into one file.

Takes the run's tasks and config; leaves `samples/completions.jsonl`, exactly the wanted completions in the order of the
tasks, whatever was killed on the way and however many processes took part. Stored batches that the config no longer
asks for (another model, prompt or setting) stay in the journal, are counted, and are not used.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accelerate import PartialState

from pipelines.config import Config
from pipelines.errors import DataError, RunError
from pipelines.models import adapter_identity, attach_adapter, load_model, model_identity
from pipelines.processes import process_group
from pipelines.records import Completion, Task, dump_lines, load_lines
from pipelines.rewards import judge
from pipelines.rundir import RunDir, write_text
from pipelines.sampling import journal
from pipelines.sampling.policies import LocalPolicy, Policy
from pipelines.sampling.progress import SamplingProgress
from pipelines.sampling.server import ServerPolicy
from pipelines.sampling.spending import wanted_next
from pipelines.sampling.tasks import complete_tasks
from pipelines.tasks import build_messages, worked_examples_of


def sample_training_tasks(config: Config, run: RunDir) -> dict[str, Any]:
    """Write `samples/completions.jsonl` for the run's training tasks; returns counts, speed and yield.

    Runs once in every process that `accelerate launch` starts. Raises RunError when another run holds the folder,
    DataError for a damaged journal.
    """
    tasks = load_lines(Task, run.require(run.tasks_file, "build_tasks.py"))
    trained = [task for task in tasks if task.split == "train"]
    if not trained:
        raise DataError(f"{run.tasks_file}: no task to train on; raise tasks.families.*.train or add tasks.files")
    state = process_group()
    with contextlib.ExitStack() as held:
        repaired = 0
        if state.is_main_process:
            held.enter_context(journal.locked(run.journal))
            journal.refuse_others(run.journal)
            repaired = journal.repair(run.journal)
        state.wait_for_everyone()
        if not state.is_main_process:
            held.enter_context(journal.locked(run.journal, state.process_index))
        identity = policy_identity(config, run.initial_adapter)
        collection = Collection.load(config, identity, tasks, run.journal)
        earlier, tokens = len(collection.completions()), collection.tokens
        state.wait_for_everyone()  # nobody appends before everybody has read
        share = collection.share(state)
        policy = open_policy(config, run.initial_adapter) if share else None  # not loaded for nothing
        started = time.monotonic()
        if policy is not None:
            draw(policy, collection, share, run.journal, state)
        state.wait_for_everyone()
        seconds = time.monotonic() - started
        if not state.is_main_process:
            return {}
        collection = Collection.load(config, identity, tasks, run.journal)
        if collection.incomplete():
            raise RunError(f"{run.journal}: not all that was drawn can be read; run the same command again")
        tokens = collection.tokens - tokens
        run.record(model=policy_identity(config))
        write_text(run.completions_file, dump_lines(collection.completions()))
        return {
            **collection.facts(),
            "processes": state.num_processes,
            "from_earlier": earlier,
            "torn_lines_repaired": repaired,
            "tokens_per_second": round(tokens / seconds) if tokens else None,
        }


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
    identity = model_identity(config.model)
    return {**identity, "adapter_sha256": adapter_identity(adapter)["sha256"]} if adapter else identity


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Collection:
    """What is wanted of a run's training tasks, and what there is of it."""

    config: Config
    identity: dict[str, Any]
    """The policy's."""
    tasks: tuple[Task, ...]
    """All of the run's, worked examples included."""
    drawn: dict[str, list[tuple[Completion, bool]]]
    """Of each training task the completions in order, and whether each passed."""
    unused: int = 0
    """Stored completions that this config does not ask for."""

    @classmethod
    def load(cls, config: Config, identity: dict[str, Any], tasks: Sequence[Task], folder: Path) -> Collection:
        """What the journal in `folder` has of the wanted completions."""
        drawn: dict[str, list[tuple[Completion, bool]]] = {task.id: [] for task in tasks if task.split == "train"}
        own = cls(config=config, identity=identity, tasks=tuple(tasks), drawn=drawn)
        by_id = {task.id: task for task in tasks if task.id in drawn}
        wanted = {task.id: own.settings(task) for task in by_id.values()}
        unused = 0
        for batch in sorted(journal.read(folder), key=lambda batch: batch.completions[0].index):
            if wanted.get(batch.task_id) == batch.settings:
                own.add(by_id[batch.task_id], batch.completions)
            else:
                unused += len(batch.completions)
        return dataclasses.replace(own, unused=unused)

    def settings(self, task: Task) -> dict[str, Any]:
        """All that decides what is drawn for a task. JSON's own types, as it is read back."""
        sampling, seed = self.config.sampling, self.config.seed
        return {
            "policy": self.identity,
            "messages": build_messages(task, self.tasks, worked_examples_of(task, sampling, seed)),
            "max_new_tokens": sampling.max_new_tokens,
            "generation": sampling.generation,
            "seed": seed,
        }

    def add(self, task: Task, completions: Sequence[Completion]) -> None:
        """Put more completions of a task behind those there are, judged."""
        for completion in completions:
            verdict = judge(
                completion.text, task, completion.finish_reason, assert_formats=self.config.tasks.assert_formats
            )
            self.drawn[task.id].append((completion, verdict.passed))
        self.drawn[task.id].sort(key=lambda row: row[0].index)

    def missing(self, task_id: str) -> range:
        """Indices of the task's completions to draw next; first those that a damaged journal has lost."""
        rows = self.drawn[task_id]
        for place, (completion, _) in enumerate(rows):
            if completion.index != place:
                return range(place, completion.index)
        return wanted_next([passed for _, passed in rows], self.config.sampling)

    def incomplete(self) -> list[Task]:
        """The tasks that want more."""
        return [task for task in self.tasks if task.id in self.drawn and self.missing(task.id)]

    def share(self, state: PartialState) -> list[Task]:
        """This process's part of the tasks that want more. Every process must have loaded the same journal."""
        # Tasks of one family share their worked examples: side by side they share that computation too.
        incomplete = sorted(self.incomplete(), key=lambda task: task.family)
        return incomplete[state.process_index :: state.num_processes]

    def completions(self) -> list[Completion]:
        """In the order of the tasks."""
        return [completion for rows in self.drawn.values() for completion, _ in rows]

    @property
    def tokens(self) -> int:
        """Sampled so far."""
        return sum(completion.completion_tokens for completion in self.completions())

    def facts(self) -> dict[str, Any]:
        """Counts, and what a thousand sampled tokens yielded: tasks with both kinds, which is what pairs need."""
        passes = [[passed for _, passed in rows] for rows in self.drawn.values()]
        both = sum(0 < sum(row) < len(row) for row in passes)
        return {
            "tasks": len(self.drawn),
            "completions": len(self.completions()),
            "passed": sum(map(sum, passes)),
            "tokens": self.tokens,
            "unused_of_other_settings": self.unused,
            "tasks_with_both_kinds": both,
            "tasks_with_both_kinds_per_1000_tokens": round(1000 * both / max(1, self.tokens), 2),
        }


def draw(policy: Policy, collection: Collection, share: list[Task], folder: Path, state: PartialState) -> None:
    """Draw what the share of the tasks still wants, until nothing is wanted; journal each task's at once."""
    most = collection.config.sampling.samples_per_task
    expected = sum(most - len(collection.drawn[task.id]) for task in share)
    with SamplingProgress(expected, is_shown=state.is_main_process) as progress:
        while share:
            wanted = {task.id: collection.missing(task.id) for task in share}
            by_id = {task.id: task for task in share}
            for task_id, completions in complete_tasks(
                policy,
                share,
                collection.tasks,
                collection.config.sampling,
                seed=collection.config.seed,
                wanted=wanted,
            ):
                task = by_id[task_id]
                batch = journal.Batch(settings=collection.settings(task), completions=tuple(completions))
                journal.append(folder, state.process_index, batch)
                collection.add(task, completions)
                rows = collection.drawn[task_id]
                is_done = not collection.missing(task_id)
                progress.add(rows[-len(completions) :], spared=most - len(rows) if is_done else 0)
            share = [task for task in share if collection.missing(task.id)]
