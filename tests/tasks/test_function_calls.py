"""The tasks of data/function-calls, read as plain JSON lines: what their card promises of them."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

FOLDER = Path(__file__).parents[2] / "data" / "function-calls"
CARD = (FOLDER / "README.md").read_text(encoding="utf-8")
TASKS = [json.loads(line) for line in (FOLDER / "tasks.jsonl").read_text(encoding="utf-8").splitlines()]
BY_FUNCTION: dict[str, list[dict[str, Any]]] = defaultdict(list)
for task in TASKS:
    BY_FUNCTION[task["group"]].append(task)


def request(task: dict[str, Any]) -> str:
    """What is asked for, without the function: a marked line of the prompt, or its first."""
    marked = re.findall(r"^(?:Request|The request|User|A user writes|Task): (.+)$", task["prompt"], re.MULTILINE)
    return str(marked[0] if marked else task["prompt"].split("\n")[0])


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from leaves(inner)
    else:
        yield value


def test_every_line_has_the_fields_of_the_card_and_no_other():
    assert {tuple(task) for task in TASKS} == {("prompt", "schema", "targets", "group", "family", "split")}
    assert all(f"| `{field}` |" in CARD for field in TASKS[0])


def test_the_counts_of_the_card_are_those_of_the_file():
    rows = Counter((task["family"], task["split"]) for task in TASKS)
    functions = {family: len({task["group"] for task in TASKS if task["family"] == family}) for family, _ in rows}
    for family, count in functions.items():
        assert f"| {family} | {count} | {rows[family, 'train']} | {rows[family, 'test']} |" in CARD
    assert f"{len(TASKS)} requests for a call of one of {len(BY_FUNCTION)} functions" in CARD
    assert len(TASKS) >= 400
    assert len(BY_FUNCTION) >= 40


def test_the_card_says_how_long_tasks_are_and_what_keys_hold():
    answers = [json.dumps(target, ensure_ascii=False) for task in TASKS for target in task["targets"]]
    longest = max(len(task["prompt"]) for task in TASKS), max(map(len, answers))
    assert "at most {} characters and answers {},".format(*longest) in CARD
    properties = [tasks[0]["schema"]["properties"] for tasks in BY_FUNCTION.values()]
    assert {len(keys) for keys in properties} == set(range(1, 6))
    assert sum(any(key["type"] == "object" for key in keys.values()) for keys in properties) == 7


def test_the_card_counts_the_answers_that_can_be_copied():
    def copied(task: dict[str, Any]) -> bool:
        words = [re.escape(str(value)) for value in leaves(task["targets"][0]) if not isinstance(value, bool)]
        return all(re.search(rf"(?<![\w.]){word}(?!\w|\.\d)", request(task)) for word in words)

    assert f"In {sum(map(copied, TASKS))} of the requests" in CARD


def test_every_accepted_value_is_valid_under_the_schema_and_listed_once():
    for task in TASKS:
        Draft202012Validator.check_schema(task["schema"])
        validator = Draft202012Validator(task["schema"])
        assert task["targets"]
        assert all(validator.is_valid(target) for target in task["targets"]), task["prompt"]
        assert len({json.dumps(target, sort_keys=True) for target in task["targets"]}) == len(task["targets"])


def test_no_prompt_and_no_request_stands_twice():
    assert len({task["prompt"] for task in TASKS}) == len(TASKS)
    assert len({request(task).casefold() for task in TASKS}) == len(TASKS)


def test_no_answer_of_a_function_is_right_in_train_and_in_test():
    for tasks in BY_FUNCTION.values():
        accepted: dict[str, set[str]] = {"train": set(), "test": set()}
        for task in tasks:
            accepted[task["split"]] |= {json.dumps(target, sort_keys=True) for target in task["targets"]}
        assert not accepted["train"] & accepted["test"]


@pytest.mark.parametrize("function", BY_FUNCTION)
def test_a_function_has_one_schema_which_fits_many_answers(function: str):
    tasks = BY_FUNCTION[function]
    assert len({json.dumps(task["schema"]) for task in tasks}) == 1
    assert len({json.dumps(task["targets"][0]) for task in tasks}) == len(tasks) == 10


def test_a_quarter_of_the_functions_is_never_trained_on():
    splits = {function: {task["split"] for task in tasks} for function, tasks in BY_FUNCTION.items()}
    unseen = {function for function, tasks in BY_FUNCTION.items() if tasks[0]["family"] == "unseen functions"}
    assert all(splits[function] == ({"test"} if function in unseen else {"train", "test"}) for function in splits)
    assert all(len({task["family"] for task in tasks}) == 1 for tasks in BY_FUNCTION.values())
    assert len(unseen) * 4 == len(BY_FUNCTION)


def test_a_prompt_names_the_function_and_every_key_but_no_accepted_value():
    for task in TASKS:
        assert task["group"] in task["prompt"]
        assert all(key in task["prompt"] for key in task["schema"]["properties"])
        assert not any(json.dumps(target) in task["prompt"] for target in task["targets"])
