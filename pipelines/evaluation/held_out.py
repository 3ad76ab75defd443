"""A policy on the tasks it was never trained on: sample, judge, store, summarise.

Takes the run's tasks and config; leaves `evaluation/<phase>.jsonl` (one row per completion with its verdict) and
`metrics.json`. Before and after use the same tasks and the same seeds, so rows pair up.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Literal

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipelines.config import Config
from pipelines.errors import DataError
from pipelines.evaluation.chat import chat, divergence
from pipelines.evaluation.rates import summarise
from pipelines.models import attach_adapter, load_model
from pipelines.records import Completion, Task, Verdict, from_json, load_lines, to_json
from pipelines.rewards import judge
from pipelines.rundir import RunDir, write_json, write_text
from pipelines.sampling import LocalPolicy, sample_tasks
from pipelines.tasks import build_messages
from pipelines.tasks.prompt_files import load_prompts
from pipelines.tasks.prompting import prompting_of

Phase = Literal["before", "after"]


def evaluate(config: Config, run: RunDir, phase: Phase) -> dict[str, Any]:
    """Measure the base model (`before`) or the trained one (`after`), and bring `metrics.json` up to date."""
    tasks = load_lines(Task, run.require(run.tasks_file, "build_tasks.py"))
    held_out = [task for task in tasks if task.split == "held_out"]
    if phase == "after":
        model, tokenizer = attach_adapter(config.model, run.require(run.adapter, "train_dpo.py"))
    else:
        model, tokenizer = load_model(config.model)
    policy = LocalPolicy(model, tokenizer)
    by_id = {task.id: task for task in held_out}
    lines = []
    for examples in dict.fromkeys((config.evaluation.worked_examples, 0)):
        settings = dataclasses.replace(config.evaluation, worked_examples=examples)
        # A task that no example can be shown for has one prompt, and is measured under it once.
        asked = [
            task
            for task in held_out
            if not examples or prompting_of(task, build_messages(task, tasks, examples)) == "worked_examples"
        ]
        for completion in sample_tasks(policy, asked, tasks, settings, config.seed):
            verdict = judge(
                completion.text,
                by_id[completion.task_id],
                completion.finish_reason,
                assert_formats=config.tasks.assert_formats,
            )
            lines.append(json.dumps({"completion": to_json(completion), "verdict": to_json(verdict)}))
    write_text(phase_file(run, phase), "\n".join(lines) + "\n")
    if config.evaluation.chat:
        _measure_chat(config, run, phase, model, tokenizer)
    metrics = collect_metrics(config, run, tasks)
    write_json(run.metrics_file, metrics)
    return {"completions": len(lines), "held_out_tasks": len(held_out)}


def _measure_chat(
    config: Config, run: RunDir, phase: Phase, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Bring `evaluation/chat.json` up to date: a summary per phase, and the first answer to each prompt."""
    settings = config.evaluation.chat
    assert settings is not None
    prompts = load_prompts(Path(settings.file))
    findings = chat(model, tokenizer, prompts, settings, config.seed)
    found = load_chat(run) or {"answers": [], "summary": {}}
    shown = {row["prompt"]: row for row in found["answers"] if row["prompt"] in prompts}
    first = findings.first_of_each()
    found["answers"] = [{**shown.get(prompt, {"prompt": prompt}), phase: first[prompt][0]} for prompt in prompts]
    found["summary"][phase] = findings.summary()
    if phase == "after":
        base, _ = load_model(config.model)
        found["summary"]["kl_nats_per_token"] = divergence(model, base, findings)
    write_json(_chat_file(run), found)


def _chat_file(run: RunDir) -> Path:
    return run.evaluation / "chat.json"


def load_chat(run: RunDir) -> dict[str, Any] | None:
    """`{"answers": [{"prompt", "before", "after"}], "summary": {phase: …, "kl_nats_per_token"}}`, None without one."""
    path = _chat_file(run)
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: not JSON ({error}); delete it and run scripts/evaluate_policy.py again") from error
    if not isinstance(found, dict) or not {"answers", "summary"} <= found.keys():
        raise DataError(f"{path}: not what evaluation writes; delete it and run scripts/evaluate_policy.py again")
    return found


def phase_file(run: RunDir, phase: str) -> Path:
    """Where a phase's completions and verdicts are."""
    return run.evaluation / f"{phase}.jsonl"


def load_phase(run: RunDir, phase: str) -> list[tuple[Completion, Verdict]]:
    """A phase's completions with their verdicts; DataError names a damaged line."""
    rows = []
    path = phase_file(run, phase)
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
            rows.append((from_json(Completion, row["completion"]), from_json(Verdict, row["verdict"])))
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(
                f"{path}:{number}: not an evaluation row ({error}); run scripts/evaluate_policy.py again"
            ) from error
    return rows


def collect_metrics(config: Config, run: RunDir, tasks: list[Task]) -> dict[str, Any]:
    """`metrics.json` from the phases that are there, with what is needed to read them."""
    family = {task.id: task.family for task in tasks}
    phases: dict[str, Any] = {}
    for phase in ("before", "after"):
        if phase_file(run, phase).exists():
            rows = load_phase(run, phase)
            phases[phase] = summarise((row.prompting, family[row.task_id], verdict) for row, verdict in rows)
    spoken = load_chat(run)
    return {
        **phases,
        **({"chat": spoken["summary"]} if spoken else {}),
        "trained_families": sorted({task.family for task in tasks if task.split == "train"}),
        "seed": config.seed,
        "settings": dataclasses.asdict(config.evaluation),
        "interval": "Wilson, 95 %",
    }
