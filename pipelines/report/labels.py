"""Question 2a on the page: the handout's samples before the parser, real pairs, what became of the rest, the labelers.

Reads the handout and a run's datasets, labels and manifest; returns what its template shows. Pairs, and what became of
the completions, are those of all rounds together.
"""

from __future__ import annotations

import dataclasses
from typing import Any
from urllib.parse import quote

import pyarrow.parquet
from markupsafe import Markup
from rapidfuzz.distance import Prefix

from pipelines.errors import DataError
from pipelines.records import TIERS, Verdict
from pipelines.report.artefacts import Artefact, element, load_artefact, manifest_of, relative
from pipelines.report.parse_trace import ParseTrace, trace_parse
from pipelines.rewards import verify
from pipelines.run.folder import Run
from pipelines.run.stages import pair_stage
from pipelines.tasks import Handout
from pipelines.tasks.splits import handout_task
from pipelines.text import Excerpt, clip

_SHOWN_PAIRS = 6
_ROWS_AT_A_TIME = 2048


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class HandoutSample:
    """One of the handout's two samples, read and verified."""

    text: Excerpt
    verdict: Verdict
    trace: ParseTrace
    stop: Markup
    """The offset at which the parser stops."""


def verify_samples(handout: Handout) -> dict[str, Any]:
    """The handout's samples step by step, and the tier that tells them apart (None when none does)."""
    task = handout_task(handout)
    samples = []
    for index, text in enumerate(handout.samples):
        verdict = verify(text, task)
        samples.append(
            HandoutSample(
                text=clip(text),
                verdict=verdict,
                trace=trace_parse(text),
                stop=element(verdict.offset, "count", f"handout.yaml#/samples/{index}", "offset"),
            )
        )
    one, other = (sample.verdict for sample in samples)
    deciding = next((tier for tier in TIERS if getattr(one, tier) != getattr(other, tier)), None)
    return {
        "samples": samples,
        "tiers": [tier for tier in TIERS if getattr(one, tier) is not None],
        "deciding": deciding,
        "first_is_better": bool(deciding and getattr(one, deciding)),
    }


def describe_labels(run: Run) -> dict[str, Any]:
    """What the template of question 2a shows; `pairs` and `agreement` may be None."""
    return {
        "pairs": _pairs(run),
        "rounds": run.rounds,
        "outcomes": _outcomes(manifest_of(run), [pair_stage(place).name for place in run.every_round]),
        "agreement": load_artefact(run, run.labels / "agreement.json", "label --agreement"),
    }


def _pairs(run: Run) -> dict[str, Any] | None:
    """A real pair of each of the first families, latest round first, and how many all rounds made."""
    rounds = [place for place in (run.last, *run.last.earlier) if place.dataset.exists()]
    if not rounds:
        return None
    shown: dict[str, dict[str, Any]] = {}
    count = 0
    # Of each round train before validation.
    for place, file in [(one, file) for one in rounds for file in sorted((one.dataset / "pairs").glob("*.parquet"))]:
        name = relative(run, file)
        try:
            with pyarrow.parquet.ParquetFile(file) as table:
                rows = (row for part in table.iter_batches(_ROWS_AT_A_TIME) for row in part.to_pylist())
                for index, row in enumerate(rows):
                    if row["family"] not in shown and len(shown) < _SHOWN_PAIRS:
                        shown[row["family"]] = _pair(row, f"{quote(name, errors='replace')}#/{index}")
                count += table.metadata.num_rows
        except (ValueError, KeyError, IndexError, TypeError, OSError) as error:
            reason = str(error).splitlines()[0]
            raise DataError(
                f"{name}: not a table of pairs ({reason}); run `attend-and-prefer pair --round {place.number}` again"
            ) from error
    # The folder bears the run's own name, which may hold anything.
    source = " ".join(quote(relative(run, place.dataset / "pairs"), errors="replace") for place in rounds)
    return {"count": element(count, "count", source, "rows"), "shown": list(shown.values())}


def _pair(row: dict[str, Any], source: str) -> dict[str, Any]:
    chosen, rejected = row["chosen"][0]["content"], row["rejected"][0]["content"]
    same = Prefix.similarity(chosen, rejected)
    return {
        "source": source,
        "request": clip(row["prompt"][-1]["content"]),
        "family": clip(row["family"], 60).text,
        "chosen": around(chosen, same),
        "rejected": around(rejected, same),
        "at": element(same, "count", source, "first divergence"),
        "reason": clip((row["rejected_reason"] or "").replace("_", " "), 60).text,
    }


def around(text: str, place: int) -> dict[str, Any]:
    """A text in two parts at a place: the end of what stands before it, and the beginning of what follows."""
    before = 200
    start = max(0, place - before)
    rest = clip(text[place:], before)
    whole = len(text) if start or rest.whole_characters else None
    return {"before": ("…" if start else "") + clip(text[start:place]).text, "rest": rest.text, "whole": whole}


def _outcomes(manifest: Artefact, stages: list[str]) -> list[dict[str, Any]] | None:
    """What became of the completions of all rounds, most frequent first, each with its share; None where untold."""
    told = [stage for stage in stages if manifest.has("stages", stage, "outcomes")]
    places: dict[str, list[tuple[str, ...]]] = {}
    for stage in told:
        for name in manifest.table("stages", stage, "outcomes"):
            places.setdefault(name, []).append(("stages", stage, "outcomes", name))
    counts = {name: sum(manifest.number(*keys) for keys in found) for name, found in places.items()}
    return [
        {
            "name": clip(name, 80).text,
            "count": manifest.total(places[name]),
            "width": f"{100 * counts[name] / sum(counts.values()):.1f}%",
        }
        for name in sorted(counts, key=lambda name: -counts[name])
    ] or None
