"""The training benchmark: TRL's trainer as it comes, at its best settings, and ours, on the same pairs in one run.

Reads a model and a preference dataset; returns seconds per step, pairs per second and peak memory of each, from
processes of their own, in alternating order. A step's time includes its share of the reference's log-probabilities:
computed in every step by TRL's defaults, once for all epochs by the other two.
"""

from __future__ import annotations

import dataclasses
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import PrinterCallback, TrainerCallback, set_seed
from trl import DPOConfig, DPOTrainer

from benchmarks.fresh_process import run_in_fresh_process
from pipelines.config import load_config
from pipelines.errors import ConfigError, DataError
from pipelines.models import load_model, silence_peft_warning
from pipelines.records import Task
from pipelines.run.processes import peak_rss_mb
from pipelines.run.provenance import provenance
from pipelines.tasks import build_prompt
from pipelines.tasks.families import WORDS
from pipelines.tasks.splits import build_tasks
from pipelines.training.trainer import PrefixSharingDPOTrainer

PAIR_SETS = ("few_shot", "zero_shot", "long_prompt")
EXAMPLES = 3
EPOCHS = 2
"""Over which the reference's log-probabilities are paid, where they are computed once."""
TRAINERS: dict[str, tuple[type[DPOTrainer], dict[str, Any]]] = {
    "trl": (DPOTrainer, {}),
    "trl_best": (DPOTrainer, {"precompute_ref_log_probs": True}),
    "pipelines": (PrefixSharingDPOTrainer, {"precompute_ref_log_probs": True}),
}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TrainingBenchmark:
    """What is to be measured."""

    model: str
    dataset: Path
    """A preference dataset's folder, as `attend-and-prefer pair` writes it."""
    config: Path
    """The experiment whose families give the examples."""
    pair_sets: tuple[str, ...]
    batch_size: int
    """Pairs per optimiser step."""
    steps: int
    """Per process; one more goes before and does not count."""
    rounds: int
    """Processes of each trainer on each pair set."""

    def run(self, say: Callable[[str], None]) -> dict[str, Any]:
        """Medians over the rounds, ratios and peaks. `say` is told how it goes."""
        for name in ("batch_size", "steps", "rounds"):
            if getattr(self, name) < 1:
                raise ConfigError(f"--{name.replace('_', '-')} must be at least 1, got {getattr(self, name)}; raise it")
        for name in self.pair_sets:
            if name not in PAIR_SETS:
                raise ConfigError(f"--pair-sets must be of {', '.join(PAIR_SETS)}, got {name!r}; name one of them")
        found: dict[str, dict[str, list[dict[str, float]]]] = {}
        for pair_set in self.pair_sets:
            pairs = self.pairs(pair_set)
            of_set = found.setdefault(pair_set, {name: [] for name in TRAINERS})
            for turn in range(self.rounds):
                for name in list(TRAINERS)[:: -1 if turn % 2 else 1]:
                    measured = run_in_fresh_process(measure, self.model, name, pairs, self.batch_size)
                    of_set[name].append(measured)
                    say(f"{pair_set}, {name}: {measured['seconds_per_step']:.2f} s a step")
        return summarise(found, self)

    def pairs(self, pair_set: str) -> list[dict[str, Any]]:
        """As many pairs as the steps take, in a seeded order, the same for every trainer."""
        count = self.batch_size * (self.steps + 1)
        if pair_set == "long_prompt":
            return long_prompt_pairs(count)
        file = next(self.dataset.glob("pairs/train-*.parquet"), None)
        if file is None:
            raise DataError(f"{self.dataset}: holds no pairs/train-*.parquet; name a dataset that `pair` wrote")
        rows = pyarrow.parquet.read_table(file).to_pylist()
        rows = random.Random(0).sample(rows, min(count, len(rows)))  # noqa: S311 - reproducible, not secret
        if len(rows) < count:
            raise DataError(f"{self.dataset}: {len(rows)} pairs, {count} wanted; lower --steps")
        tasks = build_tasks(load_config(self.config))
        return [with_prompt(row, tasks, EXAMPLES if pair_set == "few_shot" else 0) for row in rows]


def with_prompt(row: dict[str, Any], tasks: Sequence[Task], examples: int) -> dict[str, Any]:
    """A pair under its zero-shot request, or with so many examples of its family before it."""
    request = row["prompt"][-1]["content"]
    task = Task(id=row["task_id"], family=row["family"], key="", split="train", prompt=request)
    return {
        "prompt": list(build_prompt(task, tasks, examples)[0]),
        "chosen": row["chosen"],
        "rejected": row["rejected"],
    }


def long_prompt_pairs(count: int, words: int = 400) -> list[dict[str, Any]]:
    """Pairs whose prompts are long and have nothing in common: random words, and two short lists to choose from."""
    rng = random.Random(0)  # noqa: S311 - reproducible, not secret

    def says(role: str, text: str) -> list[dict[str, str]]:
        return [{"role": role, "content": text}]

    def answer() -> list[dict[str, str]]:
        return says("assistant", str([rng.randrange(99) for _ in range(8)]))

    return [
        {"prompt": says("user", " ".join(rng.choices(WORDS, k=words))), "chosen": answer(), "rejected": answer()}
        for _ in range(count)
    ]


class _Clock(TrainerCallback):  # type: ignore[misc]
    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._started = 0.0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self._started = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.seconds.append(time.perf_counter() - self._started)


def measure(model_name: str, trainer_name: str, pairs: list[dict[str, Any]], batch_size: int) -> dict[str, float]:
    """One process's steps over the pairs, all but the first counted; LoRA of rank 16 on all linear layers."""
    kind, settings = TRAINERS[trainer_name]
    reference_seconds = 0.0

    class Timed(kind):  # type: ignore[misc, valid-type]
        def _precompute_ref_logps(self, *arguments: Any) -> Dataset:
            nonlocal reference_seconds
            started = time.perf_counter()
            dataset = super()._precompute_ref_logps(*arguments)
            reference_seconds = time.perf_counter() - started
            return dataset

    set_seed(0)
    silence_peft_warning()
    model, tokenizer = load_model(model_name, to_device=False)
    clock = _Clock()
    with tempfile.TemporaryDirectory() as folder:
        trainer = Timed(
            model=model,
            args=DPOConfig(
                output_dir=folder,
                per_device_train_batch_size=batch_size,
                gradient_checkpointing=False,
                loss_type=["sigmoid", "sft"],
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                bf16=torch.cuda.is_available(),
                use_cpu=not torch.cuda.is_available(),
                num_train_epochs=1,
                **settings,
            ),
            train_dataset=Dataset.from_list(pairs),
            processing_class=tokenizer,
            peft_config=LoraConfig(r=16, target_modules="all-linear", lora_dropout=0.0, task_type="CAUSAL_LM"),
            callbacks=[clock],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    batches = len(pairs) / batch_size
    return {
        "seconds_per_step": statistics.mean(clock.seconds[1:]) + reference_seconds / batches / EPOCHS,
        "reference_seconds_per_batch": reference_seconds / batches,
        "peak_mb": peak_rss_mb(),
        "gpu_peak_mb": torch.cuda.max_memory_allocated() / 1e6 if torch.cuda.is_available() else 0.0,
    }


def summarise(found: dict[str, dict[str, list[dict[str, float]]]], asked: TrainingBenchmark) -> dict[str, Any]:
    """Medians over rounds, and how many times TRL's time and memory are ours."""

    def medians(name: str) -> dict[str, dict[str, float]]:
        return {
            pair_set: {
                trainer: round(statistics.median(one[name] for one in rounds), 2) for trainer, rounds in of_set.items()
            }
            for pair_set, of_set in found.items()
        }

    seconds, peaks = medians("seconds_per_step"), medians("peak_mb")
    return {
        "seconds_per_step": seconds,
        "pairs_per_second": {
            pair_set: {name: round(asked.batch_size / value, 2) for name, value in values.items()}
            for pair_set, values in seconds.items()
        },
        "peak_mb": peaks,
        "gpu_peak_mb": medians("gpu_peak_mb"),
        "times_as_long_as_pipelines": {
            pair_set: {name: round(value / values["pipelines"], 2) for name, value in values.items()}
            for pair_set, values in seconds.items()
        },
        "rounds": found,
        "batch_size": asked.batch_size,
        "epochs": EPOCHS,
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        **provenance(),
    }
