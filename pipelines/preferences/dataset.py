"""The run's dataset folder: `samples`, `pairs` and `kto` as Parquet with fixed features, and a card.

Takes the run's tasks, completions and verdicts; leaves a folder that `datasets.load_dataset(folder, name)` reads and
TRL's trainers take as it is. The whole folder appears at once or not at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from datasets import Dataset, Features, List, Value

from pipelines.config import Config
from pipelines.errors import DataError
from pipelines.preferences.card import render_card
from pipelines.preferences.pairing import Judged, build_pairs
from pipelines.records import Completion, Pair, Task, Verdict, load_lines
from pipelines.rewards import Scoring, score
from pipelines.rundir import RunDir, new_folder, write_text
from pipelines.tasks import build_messages

_MESSAGES = List({"role": Value("string"), "content": Value("string")})
_TASK = {"task_id": Value("string"), "family": Value("string"), "schema": Value("string"), "target": Value("string")}
_TIERS = {name: Value("bool") for name in ("parses", "root_type", "schema_valid", "exact")}
SAMPLES = Features(
    {
        **_TASK,
        "index": Value("int32"),
        "prompt": _MESSAGES,
        "prompting": Value("string"),
        "completion": Value("string"),
        **_TIERS,
        "score": Value("float64"),
        "reason": Value("string"),
        "offset": Value("int64"),
        "notes": List(Value("string")),
        "finish_reason": Value("string"),
        "prompt_tokens": Value("int32"),
        "completion_tokens": Value("int32"),
        "logprob_nats": Value("float64"),
        "seed": Value("int64"),
    }
)
PAIRS = Features(
    {
        **_TASK,
        "prompt": _MESSAGES,
        "chosen": _MESSAGES,
        "rejected": _MESSAGES,
        "chosen_index": Value("int32"),
        "rejected_index": Value("int32"),
        "margin": Value("float64"),
        "rejected_reason": Value("string"),
    }
)
KTO = Features({**_TASK, "prompt": _MESSAGES, "completion": _MESSAGES, "label": Value("bool")})


def build_dataset(config: Config, run: RunDir) -> dict[str, Any]:
    """Pair the run's judged completions and write `dataset/`; returns the counts. DataError when no pair is left."""
    tasks = load_lines(Task, run.require(run.tasks_file, "build_tasks.py"))
    judged = load_judged(run)
    trained = [task for task in tasks if task.id in judged]
    scoring = Scoring(**config.rewards.scores)
    scores = {(row.task_id, row.index): score(verdict, scoring) for rows in judged.values() for row, verdict in rows}
    pairs, fates = build_pairs(trained, judged, scores, config.preferences, config.seed)
    rows = _Rows(config, tasks, judged, scores)
    with new_folder(run.dataset) as folder:
        for name, features, content in (
            ("samples", SAMPLES, rows.samples()),
            ("pairs", PAIRS, rows.pairs(pairs)),
            ("kto", KTO, rows.kto()),
        ):
            target = folder / name / "train-00000-of-00001.parquet"
            target.parent.mkdir()
            Dataset.from_list(list(content), features=features).to_parquet(target)
        write_text(folder / "README.md", render_card(config, run, trained, judged, pairs, fates))
    return {"pairs": len(pairs), "fates": dict(fates), "pairs_per_family": _per_family(pairs, tasks)}


def load_judged(run: RunDir) -> dict[str, list[Judged]]:
    """Task id → its completions with their verdicts, as the sampling and judging stages left them."""
    completions = load_lines(Completion, run.require(run.completions_file, "sample_completions.py"))
    verdicts = load_lines(Verdict, run.require(run.verdicts_file, "judge_completions.py"))
    if len(completions) != len(verdicts):
        raise DataError(
            f"{run.verdicts_file}: {len(verdicts)} verdicts for {len(completions)} completions; "
            "run scripts/judge_completions.py again"
        )
    judged: dict[str, list[Judged]] = {}
    for completion, verdict in zip(completions, verdicts, strict=True):
        judged.setdefault(completion.task_id, []).append((completion, verdict))
    return judged


def _per_family(pairs: Sequence[Pair], tasks: Sequence[Task]) -> dict[str, int]:
    family = {task.id: task.family for task in tasks}
    return dict(Counter(family[pair.task_id] for pair in pairs))


class _Rows:
    """The rows of the three tables, made from the same records."""

    def __init__(
        self,
        config: Config,
        tasks: Sequence[Task],
        judged: dict[str, list[Judged]],
        scores: dict[tuple[str, int], float],
    ) -> None:
        self._config, self._tasks, self._judged, self._scores = config, tasks, judged, scores
        self._by_id = {task.id: task for task in tasks}

    def samples(self) -> Iterator[dict[str, Any]]:
        """Every completion with its verdict, under the prompt it was sampled with."""
        for task_id, rows in self._judged.items():
            prompt = self._prompt(task_id, self._config.sampling.worked_examples)
            for completion, verdict in rows:
                yield {
                    **self._task(task_id),
                    "prompt": prompt,
                    "completion": completion.text,
                    "score": self._scores[task_id, completion.index],
                    "notes": list(verdict.notes),
                    **{name: getattr(verdict, name) for name in (*_TIERS, "reason", "offset")},
                    **{
                        name: getattr(completion, name)
                        for name in SAMPLES
                        if name in Completion.__dataclass_fields__ and name not in ("task_id",)
                    },
                }

    def pairs(self, pairs: Sequence[Pair]) -> Iterator[dict[str, Any]]:
        """Preference pairs under the prompt that is trained on, ready for `trl.DPOTrainer`."""
        for pair in pairs:
            rows = {completion.index: (completion, verdict) for completion, verdict in self._judged[pair.task_id]}
            rejected, verdict = rows[pair.rejected_index]
            yield {
                **self._task(pair.task_id),
                "prompt": self._prompt(pair.task_id, self._config.training.worked_examples),
                "chosen": _answer(rows[pair.chosen_index][0]),
                "rejected": _answer(rejected),
                "chosen_index": pair.chosen_index,
                "rejected_index": pair.rejected_index,
                "margin": pair.margin,
                "rejected_reason": verdict.reason,
            }

    def kto(self) -> Iterator[dict[str, Any]]:
        """Every completion that ended by itself, labelled by whether it passed, ready for `trl.KTOTrainer`."""
        for task_id, rows in self._judged.items():
            prompt = self._prompt(task_id, self._config.training.worked_examples)
            for completion, verdict in rows:
                if completion.finish_reason == "stop":
                    yield {
                        **self._task(task_id),
                        "prompt": prompt,
                        "completion": _answer(completion),
                        "label": verdict.passed,
                    }

    def _task(self, task_id: str) -> dict[str, Any]:
        task = self._by_id[task_id]
        return {"task_id": task.id, "family": task.family, "schema": task.schema, "target": task.target}

    def _prompt(self, task_id: str, worked_examples: int) -> list[dict[str, str]]:
        return build_messages(self._by_id[task_id], self._tasks, worked_examples)


def _answer(completion: Completion) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": completion.text}]
