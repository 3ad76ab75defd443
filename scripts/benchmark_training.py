"""TRL's DPO trainer as it comes, at its best settings, and ours, side by side in one run.

    python scripts/benchmark_training.py --rounds 2

Prints seconds per step, pairs per second and peak memory, medians over alternating processes, and last one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from pipelines.cli import DEFAULT_CONFIG, guarded

PAIR_SETS = "few_shot,zero_shot,long_prompt"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--model", default="bundled", help="`bundled`, a folder or a Hub id (default: %(default)s)")
    parser.add_argument("--dataset", type=Path, default=Path("data/json-preferences"), help="(default: %(default)s)")
    parser.add_argument("--config", type=Path, default=DEFAULT_CONFIG, help="whose examples are shown")
    parser.add_argument("--pair-sets", default=PAIR_SETS, help="comma-separated (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=8, help="pairs per step (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=3, help="counted per process (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=2, help="processes of each trainer (default: %(default)s)")
    arguments = parser.parse_args(argv)
    return guarded(lambda: _report(arguments))


def _report(arguments: argparse.Namespace) -> None:
    from benchmarks.training import TrainingBenchmark

    options = {**vars(arguments), "pair_sets": tuple(arguments.pair_sets.split(","))}
    result = TrainingBenchmark(**options).run(lambda line: print(line, file=sys.stderr, flush=True))
    for pair_set, seconds in result["seconds_per_step"].items():
        print(f"{pair_set}, {arguments.batch_size} pairs a step:")
        for name, value in seconds.items():
            ratio, peak = result["times_as_long_as_pipelines"][pair_set][name], result["peak_mb"][pair_set][name]
            rate = result["pairs_per_second"][pair_set][name]
            print(f"  {name:10} {value:7.2f} s a step  {rate:6.2f} pairs/s  {ratio:5.2f} x  peak {peak:6.0f} MB")
    print(json.dumps(result))


if __name__ == "__main__":
    sys.exit(main())
