"""The engines that are compared, behind one call: a workload and a seed → seconds and every completion's tokens."""

from __future__ import annotations

import contextlib
import functools
import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel

from benchmarks.workloads import Workload
from pipelines.engine.decoder import sample
from pipelines.engine.fallback import bare_generation_config
from pipelines.errors import ConfigError

Completions = list[list[tuple[int, ...]]]
"""Per prompt, per completion, its token ids."""
Engine = Callable[[Workload, int], tuple[float, Completions]]


def pipelines_engine(model: PreTrainedModel, *, under_grammar: bool = False) -> Engine:
    """This project's engine, set-up and trial of the model included."""

    def run(workload: Workload, seed: int) -> tuple[float, Completions]:
        started = time.perf_counter()
        made = dict(sample(model, workload.requests(seed, under_grammar=under_grammar), workload.decoding()))
        seconds = time.perf_counter() - started
        return seconds, [[one.tokens for one in made[index]] for index in range(len(workload.prompts))]

    return run


def generate_engine(model: PreTrainedModel) -> Engine:
    """transformers' `generate(num_return_sequences=n)`, prompts padded on the left, as many at once as fit."""

    @torch.inference_mode()
    def run(workload: Workload, seed: int) -> tuple[float, Completions]:
        torch.manual_seed(seed)
        at_once = max(1, workload.batch_size // workload.samples)
        completions: Completions = []
        started = time.perf_counter()
        for first in range(0, len(workload.prompts), at_once):
            prompts = workload.prompts[first : first + at_once]
            width = max(map(len, prompts))
            padding = [[workload.pad_token] * (width - len(prompt)) for prompt in prompts]
            ids = torch.tensor([[*pad, *prompt] for pad, prompt in zip(padding, prompts, strict=True)])
            mask = torch.tensor([[0] * len(pad) + [1] * (width - len(pad)) for pad in padding])
            with bare_generation_config(model):
                output = model.generate(ids, attention_mask=mask, generation_config=_config(workload, workload.samples))
            rows = [_until_end(row, workload) for row in output[:, width:].tolist()]
            completions += [rows[start : start + workload.samples] for start in range(0, len(rows), workload.samples)]
        return time.perf_counter() - started, completions

    return run


def generate_batch_engine(model: PreTrainedModel) -> Engine:
    """transformers' `generate_batch` (continuous batching), each prompt given n times."""

    @torch.no_grad()
    def run(workload: Workload, seed: int) -> tuple[float, Completions]:
        torch.manual_seed(seed)
        inputs = [list(prompt) for prompt in workload.prompts for _ in range(workload.samples)]
        started = time.perf_counter()
        outputs = model.generate_batch(inputs, generation_config=_config(workload, 1), progress_bar=False)
        seconds = time.perf_counter() - started
        order = sorted(outputs, key=lambda name: int(name.rsplit("_", 1)[-1]))
        rows = [tuple(outputs[name].generated_tokens) for name in order]
        return seconds, [rows[first : first + workload.samples] for first in range(0, len(rows), workload.samples)]

    return run


class VllmEngine:
    """vLLM in a process of its own, from another environment: its requirements are not this project's."""

    def __init__(self, python: Path, model_folder: Path) -> None:
        """Start it and wait until its model is loaded. Raises ConfigError when that Python has no vLLM."""
        worker = Path(__file__).with_name("vllm_worker.py")
        try:
            self._process = subprocess.Popen(
                [str(python), str(worker), str(model_folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        except OSError as error:
            raise ConfigError(f"{python}: cannot be started ({error.strerror}); name a Python that has vLLM") from error
        self.version = str(self._answer(f"{python} cannot start vLLM; name a Python that has it")["version"])

    def __call__(self, workload: Workload, seed: int) -> tuple[float, Completions]:
        """Its own seconds, without the way between the processes."""
        asked = {
            "prompts": workload.prompts,
            "n": workload.samples,
            "max_tokens": workload.max_new_tokens,
            "stop_token_ids": workload.end_tokens,
        }
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # a worker that is gone gives no answer either
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()
        answer = self._answer("vLLM stopped in the middle of a workload; run its worker by hand to see why")
        return float(answer["seconds"]), [[tuple(row) for row in rows] for rows in answer["completions"]]

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def _answer(self, complaint: str) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self.close()
            raise ConfigError(complaint)
        answer: dict[str, Any] = json.loads(line)
        return answer


def _config(workload: Workload, samples: int) -> GenerationConfig:
    return GenerationConfig(
        do_sample=True,
        top_k=0,
        num_return_sequences=samples,
        max_new_tokens=workload.max_new_tokens,
        eos_token_id=list(workload.end_tokens),
        pad_token_id=workload.pad_token,
    )


def _until_end(row: list[int], workload: Workload) -> tuple[int, ...]:
    """A padded row up to its first end token."""
    ends = (place for place, token in enumerate(row, start=1) if token in workload.end_tokens)
    return tuple(row[: next(ends, len(row))])


IN_PROCESS: dict[str, Callable[[PreTrainedModel], Engine]] = {
    "pipelines": pipelines_engine,
    "pipelines_under_grammar": functools.partial(pipelines_engine, under_grammar=True),
    "transformers_generate": generate_engine,
    "transformers_generate_batch": generate_batch_engine,
}
NAMES = (*IN_PROCESS, "vllm")
