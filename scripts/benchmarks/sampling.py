"""The sampling benchmark: every engine in turn on one workload, memory of ours apart, and what the numbers stand on.

Returns a result as plain values (seconds and tokens of every round, medians, ratios, share
of completions that pass, machine, versions) and a figure. The share that passes is there because an engine that is fast
at drawing from another distribution has won nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from benchmarks.engines import IN_PROCESS, NAMES, Completions, Engine, VllmEngine
from benchmarks.fresh_process import run_in_fresh_process
from benchmarks.workloads import Workload, build_workload
from pipelines.attention.figures import render
from pipelines.engine.decoder import Decoder
from pipelines.engine.fast_linear import fast_linear
from pipelines.engine.packed_attention import packed_attention
from pipelines.errors import ConfigError
from pipelines.models import load_model
from pipelines.models.bundled import CARRIED, carried_folder
from pipelines.rewards import verify
from pipelines.run.provenance import provenance


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Round:
    """One engine's pass over the workload."""

    seconds: float
    tokens: int
    """Of completions, end tokens included."""
    passed: float
    """Share in [0, 1] of the completions that the verifier passes."""

    @property
    def tokens_per_second(self) -> float:
        """What the engines are compared by."""
        return self.tokens / self.seconds


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """What is to be measured."""

    model: str
    """`bundled`, another of `CARRIED`, or a folder."""
    workload: str
    engines: tuple[str, ...]
    rounds: int
    """Of each engine, after one that does not count."""
    vllm_python: Path | None = None
    """A Python that has vLLM, for the engine `vllm`."""

    def run(self, say: Callable[[str], None]) -> tuple[dict[str, Any], dict[str, bytes]]:
        """(result, figure). `say` is told how it goes. Raises ConfigError for engines that are not there."""
        unknown = [name for name in self.engines if name not in NAMES]
        if unknown:
            raise ConfigError(f"unknown engine {unknown[0]!r}; choose among {', '.join(NAMES)}")
        if self.rounds < 1:
            raise ConfigError(f"--rounds must be at least 1, got {self.rounds}; raise it")
        memory = run_in_fresh_process(_memory_of, self.model, self.workload)
        model, tokenizer = load_model(self.model)
        workload = build_workload(self.workload, model, tokenizer)
        engines = {name: make(model) for name, make in IN_PROCESS.items() if name in self.engines}
        versions = {}
        with contextlib.ExitStack() as others:
            if "vllm" in self.engines:
                folder = carried_folder(CARRIED[self.model]) if self.model in CARRIED else Path(self.model)
                vllm = VllmEngine(self.vllm_python or Path(sys.executable), folder)
                others.callback(vllm.close)
                engines["vllm"], versions["vllm"] = vllm, vllm.version
            found = run_rounds(engines, workload, tokenizer, self.rounds, say)
        result = {**summarise(found, workload), "memory_of_pipelines": memory}
        return {**result, "versions": {**result["versions"], **versions}}, draw(result)


def run_rounds(
    engines: Mapping[str, Engine],
    workload: Workload,
    tokenizer: PreTrainedTokenizerBase,
    rounds: int,
    say: Callable[[str], None],
) -> dict[str, list[Round]]:
    """Every engine in every round, in turns of alternating order, after one round that does not count."""
    found: dict[str, list[Round]] = {name: [] for name in engines}
    for turn in range(rounds + 1):
        for name in list(engines)[:: 1 if turn % 2 else -1]:
            gc.collect()
            seconds, completions = engines[name](workload, turn)
            done = Round(
                seconds=seconds,
                tokens=sum(len(tokens) for rows in completions for tokens in rows),
                passed=_passed(completions, workload, tokenizer),
            )
            say(f"round {turn}: {name} {done.tokens_per_second:.0f} tokens/s, {done.passed:.0%} pass")
            if turn:
                found[name].append(done)
    return found


def summarise(found: Mapping[str, Sequence[Round]], workload: Workload) -> dict[str, Any]:
    """Medians, ratios to the first engine's median, every round, and what they were measured with."""
    medians = {name: statistics.median(one.tokens_per_second for one in rounds) for name, rounds in found.items()}
    ours = medians.get("pipelines")
    return {
        "tokens_per_second": {name: round(value, 1) for name, value in medians.items()},
        "ratio_of_pipelines_to": {name: round(ours / value, 2) for name, value in medians.items()} if ours else {},
        "passed": {name: round(statistics.mean(one.passed for one in rounds), 3) for name, rounds in found.items()},
        "rounds": {name: [dataclasses.asdict(one) for one in rounds] for name, rounds in found.items()},
        "workload": {
            "name": workload.name,
            "prompts": len(workload.prompts),
            "prompt_tokens": [min(map(len, workload.prompts)), max(map(len, workload.prompts))],
            "samples": workload.samples,
            "max_new_tokens": workload.max_new_tokens,
            "batch_size": workload.batch_size,
        },
        "threads": torch.get_num_threads(),
        **provenance(),
    }


def _memory_of(name: str, workload: str) -> dict[str, float]:
    model, tokenizer = load_model(name)
    return _measure_memory(model, build_workload(workload, model, tokenizer))


def _measure_memory(model: PreTrainedModel, workload: Workload) -> dict[str, float]:
    """Our engine's peak memory above the loaded model, and the keys and values in use at its peak, in MB. Linux only.

    To be called in a process that has done nothing else: the peak is the process's.
    """
    with torch.inference_mode():
        model(torch.tensor([workload.prompts[0]]), logits_to_keep=1)  # weights are mapped from their file when read
    gc.collect()
    before = _memory_mb("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # sets the peak back to what is held now
    decoder = Decoder(model, workload.requests(0), workload.decoding())
    tokens = 0
    with packed_attention(model), fast_linear(model):
        for _, samples in decoder.run():
            tokens += sum(len(one.tokens) for one in samples)
    config = model.config
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    per_token = 2 * config.num_hidden_layers * config.num_key_value_heads * size * model.dtype.itemsize
    extra, live = _memory_mb("VmHWM") - before, decoder.live_tokens * per_token / 1e6
    return {
        "model_mb": round(before),
        "extra_mb": round(extra),
        "live_key_value_mb": round(live, 1),
        "ratio": round(extra / live, 2),
        "forwarded_tokens": decoder.forwarded_tokens,
        "sampled_tokens": tokens,
    }


def draw(result: Mapping[str, Any]) -> dict[str, bytes]:
    """`{"svg", "png"}`: one bar an engine, every round a dot."""
    names = sorted(result["tokens_per_second"], key=lambda name: result["tokens_per_second"][name])
    figure = Figure(figsize=(7.2, 0.9 + 0.45 * len(names)), layout="constrained")
    panel = figure.subplots()
    for place, name in enumerate(names):
        median = result["tokens_per_second"][name]
        panel.barh(place, median, color="#00528a" if name == "pipelines" else "#b9b8b3", height=0.62)
        dots = [one["tokens"] / one["seconds"] for one in result["rounds"][name]]
        panel.plot(dots, [place] * len(dots), "o", color="#1c1c1a", ms=3)
        panel.annotate(
            f" {median:.0f}", (max(median, *dots), place), va="center", xytext=(4, 0), textcoords="offset points"
        )
    panel.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    load = result["workload"]
    panel.set_xlabel(
        f"completions' tokens per second, {load['prompts']} prompts × {load['samples']}, "
        f"at most {load['max_new_tokens']} new tokens"
    )
    panel.set_xlim(
        0, 1.1 * max(one["tokens"] / one["seconds"] for rounds in result["rounds"].values() for one in rounds)
    )
    panel.spines[["top", "right", "left"]].set_visible(False)
    panel.tick_params(axis="y", length=0)
    panel.grid(axis="x", color="#e6e6e3")
    panel.set_axisbelow(True)
    return render(figure)


def _passed(completions: Completions, workload: Workload, tokenizer: PreTrainedTokenizerBase) -> float:
    verdicts = [
        verify(
            str(tokenizer.decode(tokens[:-1] if tokens[-1] in workload.end_tokens else tokens)),
            task,
            "stop" if tokens[-1] in workload.end_tokens else "length",
        ).passed
        for task, rows in zip(workload.tasks, completions, strict=True)
        for tokens in rows
    ]
    return sum(verdicts) / len(verdicts)


def _memory_mb(name: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise AssertionError(name)
