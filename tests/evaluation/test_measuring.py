"""What evaluation makes of its samples."""

from __future__ import annotations

from pathlib import Path

from pipelines.config import Config
from pipelines.evaluation.measuring import collect_metrics
from pipelines.records import Sample, Task, Verdict, dump_lines
from pipelines.run.folder import Run
from pipelines.samples import store

FAMILIES = ("b", "a", "c")


def sample(family: str) -> Sample:
    messages = ({"role": "user", "content": "?"},)
    return Sample(
        task_id=family, index=0, source="zero_shot", messages=messages, completion="", finish_reason="stop",
        prompt_tokens=1, completion_tokens=1, token_ids=None, logprob_nats=None, seed=0, decoding={},
        verdict=Verdict(parses=False),
    )  # fmt: skip


def test_families_stand_in_the_order_of_the_tasks_however_their_samples_were_finished(tmp_path: Path):
    run = Run(tmp_path)
    tasks = [Task(id=name, family=name, key=name, split="test", prompt="?") for name in FAMILIES]
    run.tasks_file.write_text(dump_lines(tasks))
    settings = {"messages": [{"role": "user", "content": "?"}], "decoding": {}}
    run.evaluation("before").mkdir(parents=True)
    for family in sorted(FAMILIES):
        store.append(run.evaluation("before"), 0, store.Batch(settings=settings, samples=(sample(family),)))
    assert list(collect_metrics(Config(), run, tasks)["before"]["zero_shot"]) == ["overall", *FAMILIES]
