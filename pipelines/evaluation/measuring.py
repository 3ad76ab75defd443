"""A policy on the tasks that are for test: drawn into a store of its own, summarised.

Reads the run's tasks and config; writes `evaluation/<phase>/`, a store as a round's, and `metrics.json`. Before and
after use the same tasks and the same seeds, so samples pair up. What was drawn before a stop is not drawn again, and
processes that `accelerate launch` starts share the work.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipelines.config import Config
from pipelines.errors import DataError
from pipelines.evaluation.chat import chat, divergence
from pipelines.models import attach_adapter, load_model
from pipelines.rewards.rates import summarise
from pipelines.rewards.verifiers import build_verifier
from pipelines.run import stages
from pipelines.run.files import write_json
from pipelines.run.folder import Run
from pipelines.run.processes import is_main_process
from pipelines.run.shipped import shipped
from pipelines.samples.collecting import Work, collect, local_identity
from pipelines.samples.drawing import Ask, Phase, build_asks
from pipelines.samples.policies import LocalPolicy
from pipelines.samples.proposals import why_no_grammar
from pipelines.samples.store import Held, read_samples
from pipelines.tasks.prompt_files import load_prompts

Loaded = tuple[PreTrainedModel, PreTrainedTokenizerBase]


def evaluate(config: Config, run: Run, phase: stages.Phase) -> dict[str, Any]:
    """Measure the base model (`before`) or the trained one (`after`), and bring `metrics.json` up to date."""
    run.require(run.tasks_file, "tasks")
    adapter = run.require(run.last.adapter, "train") if phase == "after" else None
    loaded: list[Loaded] = []

    def load() -> Loaded:
        """Once, and not for nothing."""
        if not loaded:
            loaded.append(attach_adapter(config.model, adapter) if adapter else load_model(config.model))
        return loaded[0]

    common: dict[str, Any] = {
        "seed": config.seed,
        "identity": local_identity(config, adapter),
        "open_policy": lambda: LocalPolicy(*load()),
        "verifier": build_verifier(config),
    }
    sampled = Phase(settings=config.evaluation, asks=lambda held: _asks(config, run))
    facts = collect(Work(folder=run.evaluation(phase), phases=[sampled], **common))
    for name in config.evaluation.decodings:
        facts[name] = collect(Work(folder=run.evaluation(phase) / name, phases=[_decoded(config, run, name)], **common))
    if is_main_process():
        if config.evaluation.chat:
            _measure_chat(config, run, phase, load())
        write_json(run.metrics_file, collect_metrics(config, run))
    return facts


def _asks(config: Config, run: Run) -> Iterator[Ask]:
    """Every task for test few-shot, then zero-shot; one that no example can be shown for is asked zero-shot alone."""
    for source, examples in (("few_shot", config.evaluation.few_shot), ("zero_shot", 0)):
        settings = dataclasses.replace(config.evaluation, few_shot=examples)
        asks = build_asks(run.iterate_tasks("test"), run.iterate_tasks("example"), settings, config.seed)
        yield from (ask for ask in asks if ask.source == source)


def _decoded(config: Config, run: Run, name: str) -> Phase:
    """The tasks for test zero-shot, decoded otherwise: those that have a grammar, where it is drawn under."""
    generation = {"do_sample": False} if name in ("greedy", "greedy_grammar") else config.evaluation.generation
    count = 1 if name in ("greedy", "greedy_grammar") else config.evaluation.samples_per_task
    settings = dataclasses.replace(config.evaluation, few_shot=0, samples_per_task=count, generation=generation)

    def asks(held: Held) -> Iterator[Ask]:
        for ask in build_asks(run.iterate_tasks("test"), (), settings, config.seed):
            if "grammar" not in name:
                yield ask
            elif why_no_grammar(ask.task, config) is None:
                yield dataclasses.replace(ask, source="grammar", schema=ask.task.schema)

    return Phase(settings=settings, asks=asks)


def _measure_chat(config: Config, run: Run, phase: stages.Phase, loaded: Loaded) -> None:
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


def collect_metrics(config: Config, run: Run) -> dict[str, Any]:
    """`metrics.json` from the phases that are there, with what is needed to read them; families as the tasks come."""
    phases: dict[str, Any] = {}
    for phase in stages.PHASES:
        folder = run.evaluation(phase)
        if folder.exists():
            decoded = [(name, folder / name) for name in config.evaluation.decodings if (folder / name).exists()]
            stores = [("", read_samples(folder)), *((name, read_samples(place)) for name, place in decoded)]
            phases[phase] = summarise(
                (name or one.source, task.family, one.verdict)
                for name, samples in stores
                for task in run.iterate_tasks("test")
                for one in reversed(samples.get(task.id, ()))  # zero-shot first, which every task is asked
            )
    spoken = load_chat(run)
    return {
        **phases,
        **({"chat": spoken["summary"]} if spoken else {}),
        "trained_families": sorted({task.family for task in run.iterate_tasks("train")}),
        "seed": config.seed,
        "settings": dataclasses.asdict(config.evaluation),
        "interval": "Wilson, 95 %",
    }
