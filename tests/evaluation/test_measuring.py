"""What evaluation makes of its samples."""

from __future__ import annotations

import json
from pathlib import Path

from pipelines.config import Config, load_config
from pipelines.evaluation.measuring import collect_metrics, evaluate
from pipelines.records import Sample, Task, Verdict, dump_lines
from pipelines.run.folder import Run
from pipelines.samples import store
from pipelines.samples.store import read_samples
from pipelines.tasks import write_tasks
from tests.stages.conftest import write_config

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
    assert list(collect_metrics(Config(), run)["before"]["zero_shot"]) == ["overall", *FAMILIES]


def test_other_decodings_are_measured_beside_with_those_tasks_that_have_a_grammar(tiny_folder: Path, tmp_path: Path):
    schema = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"], "additionalProperties": False}
    rows = [
        *({"prompt": f"n {n}?", "schema": schema, "target": {"n": 1}, "split": "test"} for n in range(3)),
        {"prompt": "unlike", "schema": {"uniqueItems": True}, "target": [1], "split": "test"},
        {"prompt": "to train on", "split": "train"},
    ]
    (tmp_path / "own.jsonl").write_text("\n".join(map(json.dumps, rows)))
    file = write_config(
        tmp_path / "c.yaml",
        tiny_folder,
        tasks={"files": [str(tmp_path / "own.jsonl")]},
        evaluation={
            **{"samples_per_task": 2, "max_new_tokens": 24, "few_shot": 0},
            "decodings": ["greedy", "grammar", "greedy_grammar"],
        },
    )
    config = load_config(file)
    run = Run.open(tmp_path / "run", config)
    write_tasks(config, run)
    evaluate(config, run, "before")
    found = json.loads(run.metrics_file.read_text())["before"]
    cells = {
        name: (rates["own"]["schema_valid"]["count"], rates["own"]["schema_valid"]["total"])
        for name, rates in found.items()
    }
    assert cells["zero_shot"][1] == 4 * 2
    assert cells["greedy"][1] == 4
    assert cells["grammar"] == (6, 6)
    assert cells["greedy_grammar"] == (3, 3)
    assert {
        one.allowed_nats is None for own in read_samples(run.evaluation("before") / "grammar").values() for one in own
    } == {False}
