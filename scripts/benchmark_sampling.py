"""Sampling engines side by side in one run: completions' tokens per second, and our engine's memory.

    python scripts/benchmark_sampling.py
    python scripts/benchmark_sampling.py --engines pipelines,vllm --vllm-python ~/vllm/bin/python --workload long

vLLM runs from an environment of its own (docs/sampling.md). The last line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from pipelines.cli import guarded


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--model", default="bundled", help="`bundled` or a folder (default: %(default)s)")
    parser.add_argument(
        "--workload", choices=["smoke", "short", "long"], default="short", help="(default: %(default)s)"
    )
    parser.add_argument("--engines", default="pipelines,transformers_generate", help="names (default: %(default)s)")
    parser.add_argument("--vllm-python", type=Path, help="Python of an environment that has vLLM, for engine `vllm`")
    parser.add_argument("--rounds", type=int, default=3, help="of each engine, alternating (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="also write OUT.json, OUT.svg and OUT.png")
    return guarded(lambda: _report(parser.parse_args(argv)))


def _report(arguments: argparse.Namespace) -> None:
    from benchmarks.sampling import Benchmark
    from pipelines.run.files import write_bytes, write_json

    benchmark = Benchmark(
        model=arguments.model,
        workload=arguments.workload,
        engines=tuple(arguments.engines.split(",")),
        rounds=arguments.rounds,
        vllm_python=arguments.vllm_python,
    )
    result, pictures = benchmark.run(lambda line: print(line, flush=True))
    if arguments.out:
        write_json(arguments.out.with_name(arguments.out.name + ".json"), result)
        for kind, content in pictures.items():
            write_bytes(arguments.out.with_name(f"{arguments.out.name}.{kind}"), content)
    print(json.dumps(result))


if __name__ == "__main__":
    sys.exit(main())
