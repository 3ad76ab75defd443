"""What the page should say, read from the run's files by other means than the page's own."""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Callable
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
    "label, h1, h2, .eyebrow, .question, nav, script, style, #worksheet"  # the handout's headings, what is not shown
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
    if form == "minutes":
        return f"{value / 60:.1f}"
    if form == "exact" and value == 0:
        return "0"
    kind, digits = form.rstrip("0123456789"), form[-1]
    specs = {"count": ",", "percent": ".0%", "share": ".0%", "exact": ".1e", "whole": ".0f"}
    text = format(value, specs.get(kind) or {"fixed": f".{digits}f", "signed": f"+.{digits}f"}[kind])
    if re.fullmatch(r"-0\.?0*", text):
        text = text.replace("-", "+" if form.startswith("signed") else "")
    text = text.replace("%", " %" if form == "percent" else "")
    return text if form == "exact" else text.replace("-", "−")


class Oracle:
    """One run's files."""

    def __init__(self, run: Path) -> None:
        self.run = run

    def contradicted(self, quotes: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
        """Those of the page's quotes that the files do not bear out, with what they say."""
        told = [one for one in quotes if one["formula"] not in ("layer shown", "head shown")]  # they have a test
        wanted = [written(self.expected(one["source"], one["formula"]), one["form"]) for one in told]
        return [(one, text) for one, text in zip(told, wanted, strict=True) if one["text"] != text]

    def expected(self, source: str, formula: str | None) -> Any:
        """The value that the page should show for a place and, if it is computed, a formula; several places add up."""
        if " " in source:
            return sum(self.expected(place, None if formula == "sum" else formula) for place in source.split(" "))
        name, _, pointer = source.partition("#")
        name = unquote(name)
        keys = [unquote(key).replace("~1", "/").replace("~0", "~") for key in pointer.split("/")[1:]]
        if formula is None:
            return self.at(name, keys)
        if ": " in formula:
            return self.worked(name, *formula.split(": "))
        return _COMPUTED[formula](self, name, keys)

    def at(self, name: str, keys: list[str]) -> Any:
        if name.endswith(".safetensors"):
            layer, head, query, key = map(int, keys)
            return float(self._maps(name).head(layer, head)[query, key])
        found = self.read(name)
        for key in keys:
            found = found[int(key)] if isinstance(found, list) else found[key]
        return found

    @functools.cache  # noqa: B019 - one oracle per module
    def _maps(self, name: str) -> AttentionMaps:
        return AttentionMaps.load(self.run / name.removesuffix(".safetensors"))

    @functools.cache  # noqa: B019 - one oracle per module
    def read(self, name: str) -> Any:
        path = self.run / name
        if path.is_dir():
            parts = (file for file in path.iterdir() if file.suffix in (".parquet", ".jsonl"))
            return [row for file in sorted(parts) for row in self.read(f"{name}/{file.name}")]
        if path.suffix == ".parquet":
            return pyarrow.parquet.read_table(path).to_pylist()
        if path.suffix == ".jsonl":
            return [json.loads(line) for line in path.read_text().splitlines()]
        return yaml.safe_load(path.read_text()) if path.suffix == ".yaml" else json.loads(path.read_text())

    def groups(self, name: str) -> int:
        return len(self.read(name)["groups"])

    def offset(self, name: str, keys: list[str]) -> int | None:
        try:
            parse_json(self.at(name, keys))
        except JSONRejected as rejected:
            return rejected.offset
        return None

    def divergence(self, name: str, keys: list[str]) -> int:
        row = self.at(name, keys)
        chosen, rejected = (row[side][0]["content"] for side in ("chosen", "rejected"))
        return next(place for place in range(len(chosen) + 1) if chosen[: place + 1] != rejected[: place + 1])

    def margins(self, name: str) -> list[float]:
        return [row["rewards/margins"] for row in self.read(name) if "rewards/margins" in row and "loss" in row][-5:]

    def zero_shot(self, name: str) -> list[dict[str, Any]]:
        samples = [sample for line in self.read(name) for sample in line["samples"]]
        return [sample["verdict"] for sample in samples if sample["source"] == "zero_shot"]

    def worked(self, name: str, phase: str, what: str) -> float:
        pair = self.read(name)
        now, was = pair[phase], pair["reference"]
        chosen, rejected = (now[f"{side}_logp"] - was[f"{side}_logp"] for side in ("chosen", "rejected"))
        margin = pair["beta"] * (chosen - rejected)
        loss = math.log(1 + math.exp(-margin))
        return {"log-ratio of chosen": chosen, "log-ratio of rejected": rejected, "margin": margin, "loss": loss}[what]


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def _fails(verdict: dict[str, Any]) -> bool:
    return any(verdict[tier] is False for tier in ("parses", "root_type", "schema_valid", "exact_match"))


_COMPUTED: dict[str, Callable[[Oracle, str, list[str]], Any]] = {
    "rows": lambda files, name, keys: len(files.read(name)),
    "n (n − 1) / 2 of the symbols": lambda files, name, keys: math.comb(files.groups(name), 2),
    "symbols": lambda files, name, keys: files.groups(name),
    "layers × heads": lambda files, name, keys: math.prod(files.at(name, keys)[:2]),
    "−x": lambda files, name, keys: -files.at(name, keys),
    "mean": lambda files, name, keys: _mean(files.at(name, keys)),
    "−mean": lambda files, name, keys: -_mean(files.at(name, keys)),
    "offset": Oracle.offset,
    "first divergence": Oracle.divergence,
    "last steps": lambda files, name, keys: len(files.margins(name)),
    "mean margin of last steps": lambda files, name, keys: _mean(files.margins(name)),
    "zero-shot completions": lambda files, name, keys: len(files.zero_shot(name)),
    "zero-shot completions that fail": lambda files, name, keys: sum(map(_fails, files.zero_shot(name))),
    "in points": lambda files, name, keys: 100 * files.at(name, keys),
    "sampling and training": lambda files, name, keys: math.fsum(
        files.at(name, keys)[what] for what in ("sampling_seconds", "training_seconds")
    ),
    "sum of seconds without the report": lambda files, name, keys: math.fsum(
        stage["seconds"] for what, stage in files.at(name, keys).items() if what != "report"
    ),
}
