"""The page of a run: everything computed from the run folder, nothing typed in, nothing fetched.

Takes a run folder; leaves `report.html`, one self-contained file, and its figures as files. A stage that has not run
leaves a section that names the command to run. Model output is untrusted: the template escapes all of it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import shlex
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import pyarrow.parquet
from markupsafe import Markup

from pipelines.attention.maps import AttentionMaps
from pipelines.attention.scores import telling_head
from pipelines.config import Config
from pipelines.evaluation.held_out import load_phase
from pipelines.pages import policy_hash
from pipelines.preferences.dataset import load_judged
from pipelines.records import Completion, Task, Verdict, load_lines, to_json
from pipelines.report.figures import draw_curves, draw_rates
from pipelines.rewards import judge
from pipelines.rundir import RunDir, write_bytes, write_text
from pipelines.stages import PLAN, Stage
from pipelines.tasks import handout_path, load_handout
from pipelines.tasks.handout import Handout
from pipelines.tasks.splits import handout_task

_SHOWN_PAIRS = 6
_SHOWN_COMPLETIONS = 8
_ENDING_STEPS = 5
_ROUND = ("sample", "pair", "train")
_SIDES = ("chosen", "rejected")


def render_report(config: Config, run: RunDir) -> dict[str, Any]:
    """Write `report.html` and `figures/`; returns the page's size."""
    handout = load_handout(handout_path(config, run))
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pipelines.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = (files("pipelines.report") / "templates" / "report.js").read_text("utf-8")
    environment.filters.update(percent=_percent, json=lambda value: json.dumps(value, ensure_ascii=False))
    page = environment.get_template("report.html.j2").render(
        run_name=run.root.resolve().name,
        script=Markup(script),  # noqa: S704 - our own file
        script_hash=policy_hash(script),
        closing_key=_closing_key(run, handout),
        handout=handout,
        attention=_attention(run),
        labels=_labels(handout_path(config, run)),
        pairs=_pairs(run),
        update=_update(run),
        behaviour=_behaviour(config, run),
        manifest=run.manifest(),
        commands={stage.name: _command(run, stage) for stage in PLAN},
        tiers=("parses", "root_type", "schema_valid", "exact"),
    )
    write_text(run.report_file, page)
    return {"kilobytes": len(page.encode()) // 1000}


def _closing_key(run: RunDir, handout: Handout) -> str:
    """What the answers are kept under: pages of other runs, or with other questions, have another."""
    named = json.dumps([str(run.root.resolve()), *handout.closing_questions])
    return hashlib.sha256(named.encode()).hexdigest()[:16]


def _command(run: RunDir, stage: Stage) -> str:
    """What to type to run a stage of this run."""
    options = ["--config", str(run.config_file), "--run", str(run.root), *stage.arguments]
    return shlex.join(["python", f"scripts/{stage.script}", *options])


def _figure(run: RunDir, name: str, rendered: dict[str, bytes]) -> str:
    """Keep a figure as files, and give it back as a data URI for the page."""
    for suffix, content in rendered.items():
        write_bytes(run.root / "figures" / f"{name}.{suffix}", content)
    return _data_uri(rendered["svg"])


def _data_uri(svg: bytes) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode()


def _percent(rate: float | None) -> str:
    return "n/a" if rate is None else f"{100 * rate:.0f} %"


def _attention(run: RunDir) -> dict[str, Any] | None:
    """The shown head's matrix before and after, and what the checks measured over all heads."""
    if not (run.attention / "before.json").exists():
        return None
    before = AttentionMaps.load(run.attention / "before")
    told = telling_head(before)
    layer, head = told.layer, told.head
    symbols = before.symbols()
    findings = {
        phase: json.loads(path.read_text(encoding="utf-8"))
        for phase in ("before", "after")
        if (path := run.attention / f"{phase}_findings.json").exists()
    }
    phases = [phase for phase in ("before", "after") if (run.attention / f"{phase}.svg").exists()]
    return {
        "layer": layer,
        "head": head,
        "rule": told.rule,
        "layers": len(before.layers),
        "heads": len(before.heads),
        "zeros": len(symbols) * (len(symbols) - 1) // 2,
        "text_tokens": before.info.get("text_tokens", before.tokens),
        "findings": findings,
        "explorer": (run.attention / "explorer.html").exists(),
        "checks": before.checks,
        "info": before.info,
        "figures": {phase: _data_uri((run.attention / f"{phase}.svg").read_bytes()) for phase in phases},
        "rows": before.head(layer, head).tolist(),
        "tokens": symbols,
    }


def _labels(path: Path) -> list[dict[str, Any]]:
    """The handout's two samples before the validator."""
    task = handout_task(path)
    return [{"text": sample, **to_json(judge(sample, task))} for sample in load_handout(path).samples]


def _pairs(run: RunDir) -> dict[str, Any] | None:
    """Some real pairs, a family each, and what became of all completions."""
    if not run.dataset.exists():
        return None
    table = pyarrow.parquet.read_table(run.dataset / "pairs").to_pylist()
    judged = load_judged(run)
    by_family = {row["family"]: row for row in reversed(table)}
    stage = run.manifest().get("stages", {}).get("pair", {})
    return {
        "count": len(table),
        "completions": sum(len(rows) for rows in judged.values()),
        "shown": [_pair(row) for row in list(by_family.values())[:_SHOWN_PAIRS]],
        "fates": stage.get("fates", {}),
    }


def _pair(row: dict[str, Any]) -> dict[str, Any]:
    chosen, rejected = row["chosen"][0]["content"], row["rejected"][0]["content"]
    common = 0
    while common < min(len(chosen), len(rejected)) and chosen[common] == rejected[common]:
        common += 1
    return {
        "prompt": row["prompt"][-1]["content"],
        "family": row["family"],
        "same": chosen[:common],
        "chosen": chosen[common:],
        "rejected": rejected[common:],
        "reason": row["rejected_reason"],
    }


def _update(run: RunDir) -> dict[str, Any] | None:
    """The course of training."""
    path = run.training / "log.json"
    if not path.exists():
        return None
    log = json.loads(path.read_text(encoding="utf-8"))
    steps = [entry for entry in log if "loss" in entry]
    stages = run.manifest().get("stages", {})
    if not steps or "train" not in stages:
        return None
    margins = [entry["rewards/margins"] for entry in steps if "rewards/margins" in entry]
    ending = margins[-_ENDING_STEPS:]
    return {
        "figure": _figure(run, "training", draw_curves(log)),
        "first_margin": margins[0] if margins else None,
        "ending_steps": len(ending),
        "ending_margin": sum(ending) / len(ending) if ending else None,
        "facts": stages["train"],
        "rounds": [{name: stages.get(f"{name}{suffix}", {}) for name in _ROUND} for suffix in _suffixes(stages)],
        "worked": _worked(run),
    }


def _suffixes(stages: dict[str, Any]) -> list[str]:
    """What the names of each round's stages end in, in order; the last round's in nothing."""
    earlier = sorted(int(name.removeprefix("train_")) for name in stages if name.startswith("train_"))
    return [*(f"_{number}" for number in earlier), ""]


def _worked(run: RunDir) -> dict[str, Any] | None:
    """The first pair's numbers put into DPO's loss (Rafailov et al. 2023, arXiv 2305.18290, eq. 7)."""
    path = run.training / "worked_pair.json"
    if not path.exists():
        return None
    pair = json.loads(path.read_text(encoding="utf-8"))
    steps = {}
    for phase in ("before", "after"):
        ratios = {side: pair[phase][f"{side}_logp"] - pair["reference"][f"{side}_logp"] for side in _SIDES}
        margin = pair["beta"] * (ratios["chosen"] - ratios["rejected"])
        steps[phase] = {
            "ratios": ratios,
            "margin": margin,
            "loss": max(-margin, 0.0) + math.log1p(math.exp(-abs(margin))),
        }
    return {**pair, "steps": steps, "request": pair["prompt"][-1]["content"]}


def _behaviour(config: Config, run: RunDir) -> dict[str, Any] | None:
    """Held-out rates, and the handout's own prompt answered before and after with the same seeds."""
    if not run.metrics_file.exists():
        return None
    metrics = json.loads(run.metrics_file.read_text(encoding="utf-8"))
    if "before" not in metrics:
        return None
    handout = handout_task(handout_path(config, run))
    tasks = {task.id: task for task in load_lines(Task, run.tasks_file)}
    phases = {phase: load_phase(run, phase) for phase in ("before", "after") if phase in metrics}
    figure = _figure(run, "before_after", draw_rates(metrics))
    others = [task for task in tasks.values() if task.split == "held_out" and task.id != handout.id]
    shown = [*({handout.id} & tasks.keys()), *{task.family: task.id for task in others}.values()]
    return {
        "metrics": metrics,
        "figure": figure,
        "samples": [
            _side_by_side(tasks[task_id], phases, index)
            for task_id in shown
            for index in (range(_SHOWN_COMPLETIONS) if task_id == handout.id else (0,))
            if index < config.evaluation.samples_per_task
        ],
    }


def _side_by_side(task: Task, phases: dict[str, list[tuple[Completion, Verdict]]], index: int) -> dict[str, Any]:
    """One bare prompt and seed, answered by each phase's policy."""
    answers = {
        phase: {"text": row.text, "passed": verdict.passed, "reason": verdict.reason}
        for phase, rows in phases.items()
        for row, verdict in rows
        if (row.task_id, row.index, row.prompting) == (task.id, index, "bare")
    }
    return {"prompt": task.prompt, "family": task.family, "answers": answers}
