"""Time and memory of a probe that keeps scores only, beside the model's plain eager forward pass.

    python scripts/benchmark_attention.py --model bundled --tokens 2048

Prints medians over alternating rounds, each side's peak memory in a process of its own, and last one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from pipelines.cli import guarded


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--model", default="bundled", help="`bundled`, a folder or a Hub id (default: %(default)s)")
    parser.add_argument("--tokens", type=int, default=2048, help="length of the sequence (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="of each side, alternating (default: %(default)s)")
    arguments = parser.parse_args(argv)
    return guarded(lambda: _report(arguments))


def _report(arguments: argparse.Namespace) -> None:
    from benchmarks.attention import measure_probe

    result = measure_probe(arguments.model, arguments.tokens, arguments.rounds)
    print(f"{arguments.tokens} tokens, median of {arguments.rounds} alternating rounds")
    for side, median in result["seconds"].items():
        print(f"  {side:14} {median:7.2f} s   peak {result['peak_mb'][side]:6.0f} MB")
    more = f"{result['extra_mb']:.0f} MB more, one layer's maps are {result['layer_mb']:.0f} MB"
    print(f"  ratio {result['ratio']:.2f}; {more}")
    print(json.dumps(result))


if __name__ == "__main__":
    sys.exit(main())
