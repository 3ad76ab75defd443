"""How fast verdicts are, in an interpreter of its own: in this one, the test run's type checks would be timed too."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRELUDE = """
import time
from pipelines.records import Task
from pipelines.rewards import verify

def seconds(completion, task, repeats):
    verify(completion, task)
    best = float("inf")
    for _ in range(3):
        begin = time.perf_counter()
        for _ in range(repeats):
            verify(completion, task)
        best = min(best, (time.perf_counter() - begin) / repeats)
    return best

def task(schema, target):
    return Task(id="t", family="f", key="k", split="train", prompt="p", schema=schema, target=target)
"""
RATES = """
import json
schema = json.dumps({"type": "object", "required": ["name", "age"], "properties": {
    "name": {"type": "string"}, "age": {"type": "integer"}, "tags": {"type": "array", "items": {"type": "string"}}}})
target = '{"name": "Alice Example", "age": 30, "tags": ["reader", "writer", "editor", "singer", "dancer"], "n": 1}'
asked = task(schema, target)
completions = {"right": target, "respaced": target.replace(" ", ""), "wrong": target.replace("30", "31"),
               "misfit": target.replace("30", "null"), "broken": target[:-1] + ")", "prose": "Sure! " + target}
print(json.dumps({name: 1 / seconds(text, asked, 4000) for name, text in completions.items()}))
"""
HOSTILE = """
import json
n = 1_000_000
asked = task('{"type": "array", "uniqueItems": true, "items": {"type": ["array", "integer", "object"]}}', "[1]")
completions = {
    "open brackets": "[" * n, "open objects": '{"a":' * (n // 5), "digits": "1" * n, "spaces": " " * n,
    "half escapes": '"' + "\\\\u" * (n // 2), "quoted half escapes": '"\\\\u' * (n // 3), "quotes": '"' * n,
    "backslashes": '"' + "\\\\" * n, "escapes": '"' + "\\\\n" * (n // 2), "empty lists": "[" + "[]," * (n // 3),
    "empty lists, closed": "[" + "[]," * (n // 3) + "[]]", "lists": "[" + "[[[]]]," * (n // 7),
    "ones": "[" + "1," * (n // 2), "floats": "[" + "1.0," * (n // 4) + "1]", "NaN": "[" + "1," * (n // 2) + "NaN",
    "overflow": "[" + "1e308," * (n // 6) + "1e400", "strings": "[" + '"",' * (n // 3), "deep lists":
    "[" + ",".join(["[" * 198 + "]" * 198] * (n // 397)), "neighbours": str(list(range(2**63, 2**63 + n // 22))),
    "text": "a" * n,
    "one string": '"' + "\\u00e9" * (n // 2), "duplicate keys": "[" + '{"a":1,"a":1},' * (n // 14) + "1]",
}
print(json.dumps({name: 1000 * seconds(text, asked, 1) for name, text in completions.items()}))
"""


def measure(script: str) -> dict[str, float]:
    command = [sys.executable, "-c", PRELUDE + script]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    print(printed)
    return json.loads(printed)


@pytest.mark.slow
def test_verdicts_on_short_completions_come_by_the_ten_thousand_a_second():
    rates = measure(RATES)
    assert min(rates.values()) > 10_000, rates  # 50,000 and more on an idle core


@pytest.mark.slow
def test_a_hostile_megabyte_is_judged_in_a_fraction_of_a_second():
    milliseconds = measure(HOSTILE)
    assert max(milliseconds.values()) < 500, milliseconds  # under 100 on an idle core
