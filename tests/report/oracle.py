"""What the page should say, read from the run's files by other means than the page's own."""

from __future__ import annotations

import functools
import json
import math
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow.parquet
import yaml

from pipelines.attention import AttentionMaps
from pipelines.rewards import JSONRejected, parse_json

READ_QUOTES = """() => [...document.querySelectorAll('[data-source]')].map((one) =>
  ({formula: null, ...one.dataset, text: one.textContent}))"""
READ_TEXTS = """() => [...document.querySelectorAll('[data-text]')].map((one) =>
  ({source: one.dataset.text, text: one.textContent}))"""
_QUOTED = (
    "[data-source], code, q, .given, .symbol, .formula, .prose, .cut, sub, "  # files, texts of unknown origin, formulas
    "label, h1, h2, .over, .question, nav, script, style, #worksheet"  # headings of the handout, and what is not shown
)
READ_STRAY_DIGITS = """(quoted) => {
  const found = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walk.nextNode(); node; node = walk.nextNode())
    if (/\\d/.test(node.data) && !node.parentElement.closest(quoted)) found.push(node.data.trim());
  return found; }"""


def stray_digits(page) -> list[str]:
    """Texts of the page with a digit that is neither quoted from a file nor part of a formula."""
    return page.evaluate(READ_STRAY_DIGITS, _QUOTED)


def written(value: Any, form: str) -> str:
    """A value as the page should write it."""
    if value is None:
        return "–"
    if form in ("text", "words", "hash"):
        text = str(value).replace("_", " ") if form == "words" else str(value)
        return text[:16] if form == "hash" else text if len(text) <= 200 else text[:200] + "…"
    numbers = {
        "count": "{:,}", "percent": "{:.0%}", "share": "{:.0%}", "exact": "{:.1e}", "whole": "{:.0f}",
        "fixed1": "{:.1f}", "fixed2": "{:.2f}", "fixed3": "{:.3f}", "fixed4": "{:.4f}",
        "signed1": "{:+.1f}", "signed2": "{:+.2f}", "signed4": "{:+.4f}",
    }  # fmt: skip
    if form == "minutes":
        return f"{value / 60:.1f}"
    if form == "exact" and value == 0:
        return "0"
    text = numbers[form].format(value)
    if re.fullmatch(r"-0\.?0*", text):
        text = text.replace("-", "+" if form.startswith("signed") else "")
    text = text.replace("%", " %" if form == "percent" else "")
    return text if form == "exact" else text.replace("-", "−")


class Oracle:
    """One run's files."""

    def __init__(self, run: Path) -> None:
        self.run = run

    def expected(self, source: str, formula: str | None) -> Any:
        """The value that the page should show for a place and, if it is computed, a formula; several places add up."""
        if " " in source:
            return sum(self.expected(place, None if formula == "sum" else formula) for place in source.split(" "))
        name, _, pointer = source.partition("#")
        keys = [unquote(key).replace("~1", "/").replace("~0", "~") for key in pointer.split("/")[1:]]
        if formula is None:
            return self.at(name, keys)
        if ": " in formula:
            return self._worked(*formula.split(": "))
        return getattr(self, "_" + _COMPUTED[formula])(name, keys)

    def at(self, name: str, keys: list[str]) -> Any:
        if name.endswith(".safetensors"):
            layer, head, query, key = map(int, keys)
            return float(self._maps(name).head(layer, head)[query, key])
        found = self._read(name)
        for key in keys:
            found = found[int(key)] if isinstance(found, list) else found[key]
        return found

    @functools.cache  # noqa: B019 - one oracle per module
    def _maps(self, name: str) -> AttentionMaps:
        return AttentionMaps.load(self.run / name.removesuffix(".safetensors"))

    @functools.cache  # noqa: B019 - one oracle per module
    def _read(self, name: str) -> Any:
        path = self.run / name
        if path.is_dir():
            return [row for file in path.glob("*.parquet") for row in pyarrow.parquet.read_table(file).to_pylist()]
        if path.suffix == ".parquet":
            return pyarrow.parquet.read_table(path).to_pylist()
        if path.suffix == ".jsonl":
            return [json.loads(line) for line in path.read_text().splitlines()]
        return yaml.safe_load(path.read_text()) if path.suffix == ".yaml" else json.loads(path.read_text())

    def _rows(self, name: str, keys: list[str]) -> int:
        return len(self._read(name))

    def _above_diagonal(self, name: str, keys: list[str]) -> int:
        return math.comb(len(self._read(name)["groups"]), 2)

    def _symbols(self, name: str, keys: list[str]) -> int:
        return len(self._read(name)["groups"])

    def _heads(self, name: str, keys: list[str]) -> int:
        shape = self._read(name)["shape"]
        return shape[0] * shape[1]

    def _negated(self, name: str, keys: list[str]) -> float:
        return -self.at(name, keys)

    def _mean(self, name: str, keys: list[str]) -> float:
        values = self.at(name, keys)
        return math.fsum(values) / len(values)

    def _negated_mean(self, name: str, keys: list[str]) -> float:
        return -self._mean(name, keys)

    def _offset(self, name: str, keys: list[str]) -> int | None:
        try:
            parse_json(self.at(name, keys))
        except JSONRejected as rejected:
            return rejected.offset
        return None

    def _divergence(self, name: str, keys: list[str]) -> int:
        row = self.at(name, keys)
        chosen, rejected = (row[side][0]["content"] for side in ("chosen", "rejected"))
        return next(place for place in range(len(chosen) + 1) if chosen[: place + 1] != rejected[: place + 1])

    def _margins(self, name: str) -> list[float]:
        return [row["rewards/margins"] for row in self._read(name) if "rewards/margins" in row and "loss" in row][-5:]

    def _last_steps(self, name: str, keys: list[str]) -> int:
        return len(self._margins(name))

    def _last_margin(self, name: str, keys: list[str]) -> float:
        return math.fsum(self._margins(name)) / len(self._margins(name))

    def _bare(self, name: str, keys: list[str]) -> int:
        return sum(row["completion"]["prompting"] == "bare" for row in self._read(name))

    def _bare_failures(self, name: str, keys: list[str]) -> int:
        tiers = ("parses", "root_type", "schema_valid", "exact")
        verdicts = [row["verdict"] for row in self._read(name) if row["completion"]["prompting"] == "bare"]
        return sum(any(verdict[tier] is False for tier in tiers) for verdict in verdicts)

    def _seconds(self, name: str, keys: list[str]) -> float:
        return math.fsum(stage["seconds"] for what, stage in self.at(name, keys).items() if what != "report")

    def _points(self, name: str, keys: list[str]) -> float:
        return 100 * self.at(name, keys)

    def _both_seconds(self, name: str, keys: list[str]) -> float:
        row = self.at(name, keys)
        return row["sampling_seconds"] + row["training_seconds"]

    def _worked(self, phase: str, what: str) -> float:
        pair = self._read("training/worked_pair.json")
        now, was = pair[phase], pair["reference"]
        chosen, rejected = (now[f"{side}_logp"] - was[f"{side}_logp"] for side in ("chosen", "rejected"))
        margin = pair["beta"] * (chosen - rejected)
        loss = math.log(1 + math.exp(-margin))
        return {"log-ratio of chosen": chosen, "log-ratio of rejected": rejected, "margin": margin, "loss": loss}[what]


_COMPUTED = {
    "rows": "rows",
    "n (n − 1) / 2 of the symbols": "above_diagonal",
    "symbols": "symbols",
    "layers × heads": "heads",
    "−x": "negated",
    "mean": "mean",
    "−mean": "negated_mean",
    "offset": "offset",
    "first divergence": "divergence",
    "last steps": "last_steps",
    "mean margin of last steps": "last_margin",
    "bare completions": "bare",
    "bare completions that fail": "bare_failures",
    "in points": "points",
    "sampling and training": "both_seconds",
    "sum of seconds without the report": "seconds",
}
