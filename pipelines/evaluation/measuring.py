"""A policy on the tasks that are for test: drawn into a store of its own, summarised.

Reads the run's tasks and config; writes `evaluation/<phase>/`, a store as a round's, and `metrics.json`. Before and
after use the same tasks and the same seeds, so samples pair up. What was drawn before a stop is not drawn again, and
processes that `accelerate launch` starts share the work.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipelines.config import Config
from pipelines.errors import DataError
from pipelines.evaluation.chat import chat, divergence
from pipelines.models import attach_adapter, load_model
from pipelines.records import Task
from pipelines.rewards.rates import summarise
from pipelines.run.files import write_json
from pipelines.run.folder import Run
from pipelines.run.processes import is_main_process
from pipelines.run.shipped import shipped
from pipelines.run.stages import PHASES, Phase
from pipelines.samples.collecting import Work, collect, local_identity
from pipelines.samples.drawing import Ask, build_asks
from pipelines.samples.policies import LocalPolicy
from pipelines.samples.store import read_batches
from pipelines.tasks.prompt_files import load_prompts

Loaded = tuple[PreTrainedModel, PreTrainedTokenizerBase]


def evaluate(config: Config, run: Run, phase: Phase) -> dict[str, Any]:
    """Measure the base model (`before`) or the trained one (`after`), and bring `metrics.json` up to date."""
    tasks = run.load_tasks()
    adapter = run.require(run.last.adapter, "train") if phase == "after" else None
    loaded: list[Loaded] = []

    def load() -> Loaded:
        """Once, and not for nothing."""
        if not loaded:
            loaded.append(attach_adapter(config.model, adapter) if adapter else load_model(config.model))
        return loaded[0]

    facts = collect(
        Work(
            folder=run.evaluation(phase),
            asks=_asks(config, tasks),
            settings=config.evaluation,
            seed=config.seed,
            identity=local_identity(config, adapter),
            open_policy=lambda: LocalPolicy(*load()),
            assert_formats=config.tasks.assert_formats,
        )
    )
    if is_main_process():
        if config.evaluation.chat:
            _measure_chat(config, run, phase, load())
        write_json(run.metrics_file, collect_metrics(config, run, tasks))
    return facts


def _asks(config: Config, tasks: Sequence[Task]) -> list[Ask]:
    """Every task for test few-shot and zero-shot; one that no example can be shown for has one prompt, asked once."""
    test = [task for task in tasks if task.split == "test"]
    asks: dict[tuple[str, str], Ask] = {}
    for examples in (config.evaluation.few_shot, 0):
        settings = dataclasses.replace(config.evaluation, few_shot=examples)
        for ask in build_asks(test, tasks, settings, config.seed):
            asks.setdefault((ask.task.id, ask.source), ask)
    return sorted(asks.values(), key=lambda ask: ask.source)


def _measure_chat(config: Config, run: Run, phase: Phase, loaded: Loaded) -> None:
    """Bring `evaluation/chat.json` up to date: a summary per phase, and the first answer to each prompt."""
    settings = config.evaluation.chat
    assert settings is not None
    prompts = load_prompts(shipped(settings.file))
    findings = chat(*loaded, prompts, settings, config.seed)
    found = load_chat(run) or {"answers": [], "summary": {}}
    shown = {row["prompt"]: row for row in found["answers"] if row["prompt"] in prompts}
    first = findings.first_of_each()
    found["answers"] = [{**shown.get(prompt, {"prompt": prompt}), phase: first[prompt][0]} for prompt in prompts]
    found["summary"][phase] = findings.summary()
    if phase == "after":
        base, _ = load_model(config.model)
        found["summary"]["kl_nats_per_token"] = divergence(loaded[0], base, findings)
    write_json(run.chat_file, found)


def load_chat(run: Run) -> dict[str, Any] | None:
    """`{"answers": [{"prompt", "before", "after"}], "summary": {phase: …, "kl_nats_per_token"}}`, None without one."""
    path = run.chat_file
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: not JSON ({error}); delete it and run `attend-and-prefer evaluate` again") from error
    if not isinstance(found, dict) or not {"answers", "summary"} <= found.keys():
        raise DataError(f"{path}: not what evaluation writes; delete it and run `attend-and-prefer evaluate` again")
    return found


def collect_metrics(config: Config, run: Run, tasks: list[Task]) -> dict[str, Any]:
    """`metrics.json` from the phases that are there, with what is needed to read them."""
    family = {task.id: task.family for task in tasks}
    place = {task.id: number for number, task in enumerate(tasks)}
    phases: dict[str, Any] = {}
    for phase in PHASES:
        folder = run.evaluation(phase)
        if folder.exists():
            samples = [sample for batch in read_batches(folder) for sample in batch.samples]
            samples.sort(key=lambda sample: place[sample.task_id])  # as the tasks are, not as they were finished
            phases[phase] = summarise((one.source, family[one.task_id], one.verdict) for one in samples)
    spoken = load_chat(run)
    return {
        **phases,
        **({"chat": spoken["summary"]} if spoken else {}),
        "trained_families": sorted({task.family for task in tasks if task.split == "train"}),
        "seed": config.seed,
        "settings": dataclasses.asdict(config.evaluation),
        "interval": "Wilson, 95 %",
    }
