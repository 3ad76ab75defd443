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
from pipelines.run.folder import Run
from pipelines.run.stages import PROBE

SPLITS = {"symbols": ("symbols",), "text": ("text",), "both": ("symbols", "text")}
OF_A_RUN = ("config", "overrides", "phase", "run")


def main(argv: Sequence[str] | None = None) -> int:
    parser = build_parser(__doc__ or "")
    parser.add_argument("--phase", choices=list(PROBE), help="of a run (default: before)")
    free = parser.add_argument_group("any model and text, without a run")
    free.add_argument("--model", help="`bundled`, a folder or a Hub id (default: bundled)")
    free.add_argument("--text", help='prose, or symbols separated by spaces (default: "1 a 2 b 3")')
    free.add_argument("--adapter", type=Path, help="a folder of adapter or trained weights to set beside the model")
    free.add_argument("--other-adapter", type=Path, help="another run's, e.g. of another seed: the scale of the change")
    free.add_argument("--seeds", metavar="N", help="also score N seeded sequences of each kind; 4 or more")
    tokens = "one token a symbol, the tokenizer's own split, or both (default: as the text allows)"
    free.add_argument("--tokens", choices=list(SPLITS), help=tokens)
    free.add_argument("--prefix", choices=["none", "bos", "chat"], help="what stands before the text (default: none)")
    free.add_argument("--layers", metavar="N,N", help="some layers only, e.g. 0,5,6")
    free.add_argument("--heads", metavar="N,N", help="some heads of each layer only")
    free.add_argument("--out", type=Path, help="folder (default: runs/attention)")
    arguments = parser.parse_args(argv)
    given = {name: value for name, value in vars(arguments).items() if value not in (None, [])}
    if arguments.config is DEFAULT_CONFIG:  # the same path typed by hand is another object, and was given
        del given["config"]
    if not given.keys() - set(OF_A_RUN):
        return _probe_run(arguments)
    return guarded(lambda: _probe_text(given))


def _probe_run(arguments: argparse.Namespace) -> int:
    phase = arguments.phase or "before"

    def work(config: Config, run: Run) -> dict[str, Any]:
        from pipelines.attention.study import probe_handout

        return probe_handout(config, run, phase)

    return run_stage(PROBE[phase], work, arguments)


def _probe_text(given: dict[str, Any]) -> int:
    of_a_run, free = ([name for name in given if (name in OF_A_RUN) == wanted] for wanted in (True, False))
    if of_a_run:
        raise ConfigError(f"{_options(of_a_run)} is of a run, and {_options(free)} works without one; leave one out")
    layers, heads, seeds = (_numbers(name, given.get(name)) for name in ("layers", "heads", "seeds"))
    if seeds is not None and len(seeds) != 1:
        raise ConfigError(f"--seeds must be one whole number, got {given['seeds']!r}; e.g. 8")
    from pipelines.attention.study import ProbeInput, ProbeRequest, probe_text

    text = ProbeInput(
        text=given.get("text", "1 a 2 b 3"),
        splits=SPLITS.get(given.get("tokens")),
        prefix=given.get("prefix", "none"),
        layers=layers,
        heads=heads,
    )
    request = ProbeRequest(
        input=text,
        model=given.get("model", "bundled"),
        adapter=given.get("adapter"),
        other_adapter=given.get("other_adapter"),
        seeds=None if seeds is None else seeds[0],
        out=given.get("out", Path("runs/attention")),
    )
    print(probe_text(request))
    return 0


def _options(names: Sequence[str]) -> str:
    return ", ".join(f"--{'set' if name == 'overrides' else name.replace('_', '-')}" for name in names)


def _numbers(name: str, text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--{name} must be whole numbers, commas between them, got {text!r}; e.g. 0,5") from None


if __name__ == "__main__":
    sys.exit(main())
