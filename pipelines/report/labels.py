"""Question 2a on the page: the handout's samples before the parser, real pairs, what became of the rest, the labelers.

Takes the handout and a run's dataset, labels and manifest; leaves what its template shows.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pyarrow.parquet
from markupsafe import Markup
from rapidfuzz.distance import Prefix

from pipelines.errors import DataError
from pipelines.records import TIERS, Verdict
from pipelines.report.artefacts import Artefact, element, load_artefact, manifest_of
from pipelines.report.tape import Tape, read_tape
from pipelines.rewards import judge
from pipelines.rundir import RunDir
from pipelines.tasks import load_handout
from pipelines.tasks.splits import handout_task
from pipelines.text import Excerpt, clip

_SHOWN_PAIRS = 6
_HANDOUT = "samples/handout.yaml"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One of the handout's two samples, read and judged."""

    text: Excerpt
    verdict: Verdict
    tape: Tape
    stop: Markup
    """The offset at which the parser stops."""


def judge_samples(handout: Path) -> dict[str, Any]:
    """The handout's samples step by step, and the tier that tells them apart (None when none does)."""
    task = handout_task(handout)
    samples = []
    for index, text in enumerate(load_handout(handout).samples):
        verdict = judge(text, task)
        samples.append(
            Sample(
                text=clip(text),
                verdict=verdict,
                tape=read_tape(text),
                stop=element(verdict.offset, "count", f"{_HANDOUT}#/samples/{index}", "offset"),
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


def describe_labels(run: RunDir, handout: Path) -> dict[str, Any]:
    """What the template of question 2a shows; `pairs` and `agreement` are None where there are none."""
    manifest = manifest_of(run)
    return {
        **judge_samples(handout),
        "pairs": _pairs(run),
        "manifest": manifest,
        "fates": _fates(manifest) if manifest.has("stages", "pair", "fates") else None,
        "agreement": load_artefact(run, "labels/agreement.json", "compare_labelers.py"),
    }


def _pairs(run: RunDir) -> dict[str, Any] | None:
    """A real pair of each of the first families, in the dataset's order, and how many there are."""
    if not run.dataset.exists():
        return None
    shown: dict[str, dict[str, Any]] = {}
    count = 0
    for file in sorted((run.dataset / "pairs").glob("*.parquet"), reverse=True):  # train before test
        name = file.relative_to(run.root).as_posix()
        try:
            rows = pyarrow.parquet.read_table(file).to_pylist()
            for index, row in enumerate(rows):
                if row["family"] not in shown and len(shown) < _SHOWN_PAIRS:
                    shown[row["family"]] = _pair(row, f"{name}#/{index}")
        except (ValueError, KeyError, IndexError, TypeError, OSError) as error:
            reason = str(error).splitlines()[0]
            raise DataError(
                f"{name}: not a table of pairs ({reason}); run scripts/build_preferences.py again"
            ) from error
        count += len(rows)
    return {"count": element(count, "count", "dataset/pairs", "rows"), "shown": list(shown.values())}


def _pair(row: dict[str, Any], source: str) -> dict[str, Any]:
    chosen, rejected = row["chosen"][0]["content"], row["rejected"][0]["content"]
    same = Prefix.similarity(chosen, rejected)
    return {
        "source": source,
        "prompt": clip(row["prompt"][-1]["content"]),
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


def _fates(manifest: Artefact) -> list[dict[str, Any]]:
    """What became of all completions, most frequent first, each with its share of them."""
    fates = manifest.table("stages", "pair", "fates")
    total = sum(manifest.number("stages", "pair", "fates", name) for name in fates)
    return [
        {
            "name": clip(name, 80).text,
            "count": manifest.show("stages", "pair", "fates", name),
            "width": f"{100 * fates[name] / total:.1f}%",
        }
        for name in sorted(fates, key=lambda name: -fates[name])
    ]
