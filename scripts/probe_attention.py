"""Capture real attention maps: every layer, every head, the zeros proved, and a page to look at them.

Of a run, the handout's sequence before or after training:

    python scripts/probe_attention.py --config configs/default.yaml --phase before

Of any model and text, and of an adapter beside it:

    python scripts/probe_attention.py --model bundled --text "The cat sat down, because it was tired."
    python scripts/probe_attention.py --model bundled --text "1 a 2 b 3" --adapter runs/default/adapter

Writes <phase>*.safetensors and .json (maps), .svg and .png (one head) and explorer.html, into the run's attention/ or
into --out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.command import DEFAULT_CONFIG, build_parser, guarded, run_stage
from pipelines.config import Config
from pipelines.errors import ConfigError
from pipelines.rundir import RunDir
from pipelines.stages import PROBE

_FREE = ("model", "text", "adapter")
"""Any of them asks for a study without a run."""
_FREE_ONLY = ("other_adapter", "seeds", "tokens", "prefix", "layers", "heads", "out")


def main(argv: Sequence[str] | None = None) -> int:
    parser = build_parser(__doc__ or "")
    parser.add_argument("--phase", choices=list(PROBE), help="of a run (default: before)")
    free = parser.add_argument_group("any model and text, without a run")
    free.add_argument("--model", help="`bundled`, a folder or a Hub id (default: bundled)")
    free.add_argument("--text", help='prose, or symbols separated by spaces (default: "1 a 2 b 3")')
    free.add_argument("--adapter", type=Path, help="a folder of adapter or trained weights to set beside the model")
    free.add_argument("--other-adapter", type=Path, help="another run's, e.g. of another seed: the scale of the change")
    free.add_argument("--seeds", metavar="N", help="also score N seeded sequences of each kind; 4 or more")
    free.add_argument(
        "--tokens",
        choices=["symbols", "text", "both"],
        help="one token a symbol; as the tokenizer splits the text; both (default: both where each symbol is a token, "
        "else text)",
    )
    free.add_argument("--prefix", choices=["none", "bos", "chat"], help="what stands before the text (default: none)")
    free.add_argument("--layers", metavar="N,N", help="some layers only, e.g. 0,5,6")
    free.add_argument("--heads", metavar="N,N", help="some heads of each layer only")
    free.add_argument("--out", type=Path, help="folder (default: runs/attention)")
    arguments = parser.parse_args(argv)
    given = {name for name, value in vars(arguments).items() if value not in (None, [])}
    if given & set(_FREE):
        return guarded(lambda: _probe_text(arguments, given))
    if given & set(_FREE_ONLY):
        return guarded(lambda: _refuse(given & set(_FREE_ONLY), "works with --text, --model or --adapter; add one"))
    phase = arguments.phase or "before"

    def work(config: Config, run: RunDir) -> dict[str, Any]:
        from pipelines.attention.handout import probe_handout

        return probe_handout(config, run, phase)

    return run_stage(PROBE[phase], work, arguments)


def _probe_text(arguments: argparse.Namespace, given: set[str]) -> int:
    of_a_run = given & {"run", "overrides", "phase"} | ({"config"} if arguments.config is not DEFAULT_CONFIG else set())
    if of_a_run:
        _refuse(of_a_run, "is of a run, and --text, --model and --adapter work without one; leave it out")
    layers, heads = (_numbers(name, getattr(arguments, name)) for name in ("layers", "heads"))
    seeds = _numbers("seeds", arguments.seeds)
    if seeds is not None and len(seeds) != 1:
        raise ConfigError(f"--seeds must be one whole number, got {arguments.seeds!r}; e.g. 8")
    from pipelines.attention.free_text import Inquiry, probe_text
    from pipelines.attention.study import Subject
    from pipelines.attention.symbols import Split

    splits: dict[str, tuple[Split, ...]] = {"symbols": ("symbols",), "text": ("text",), "both": ("symbols", "text")}
    subject = Subject(
        text="1 a 2 b 3" if arguments.text is None else arguments.text,
        splits=splits.get(arguments.tokens),
        prefix=arguments.prefix or "none",
        layers=layers,
        heads=heads,
    )
    inquiry = Inquiry(
        subject=subject,
        model="bundled" if arguments.model is None else arguments.model,
        adapter=arguments.adapter,
        other_adapter=arguments.other_adapter,
        seeds=None if seeds is None else seeds[0],
        out=arguments.out or Path("runs/attention"),
    )
    print(probe_text(inquiry))
    return 0


def _refuse(given: set[str], why: str) -> int:
    names = " and ".join(f"--{'set' if name == 'overrides' else name.replace('_', '-')}" for name in sorted(given))
    raise ConfigError(f"{names} {why}")


def _numbers(name: str, text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--{name} must be whole numbers, commas between them, got {text!r}; e.g. 0,5") from None


if __name__ == "__main__":
    sys.exit(main())
