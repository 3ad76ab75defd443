"""Capture real attention maps: every layer, every head, the zeros proved, and a page to look at them.

Of a run, the handout's sequence before or after training:

    python scripts/probe_attention.py --config configs/default.yaml --phase before

Of any model and text, and of an adapter beside it:

    python scripts/probe_attention.py --model bundled --text "1 a 2 b 3"
    python scripts/probe_attention.py --model bundled --text "1 a 2 b 3" --adapter runs/default/adapter

Writes <phase>*.safetensors and .json (maps), .svg and .png (one head) and explorer.html, into the run's attention/ or
into --out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.command import build_parser, guarded, run_stage
from pipelines.config import Config, ModelConfig
from pipelines.errors import ConfigError
from pipelines.rundir import RunDir
from pipelines.stages import PROBE

if TYPE_CHECKING:
    from pipelines.attention.maps import AttentionMaps
    from pipelines.attention.study import Subject


def main(argv: Sequence[str] | None = None) -> int:
    parser = build_parser(__doc__ or "")
    parser.add_argument("--phase", choices=list(PROBE), default="before", help="of a run (default: %(default)s)")
    free = parser.add_argument_group("any model and text, without a run")
    free.add_argument("--model", help="`bundled`, a folder or a Hub id (default: bundled)")
    free.add_argument("--text", help='symbols separated by spaces, e.g. "1 a 2 b 3"')
    free.add_argument("--adapter", type=Path, help="a folder of adapter or trained weights to set beside the model")
    free.add_argument("--other-adapter", type=Path, help="another run's, e.g. of another seed: the scale of the change")
    free.add_argument(
        "--seeds", type=int, default=0, help="also score so many seeded sequences of each kind; 4 or more"
    )
    free.add_argument(
        "--tokens",
        choices=["symbols", "text", "both"],
        default="both",
        help="one token a symbol, or as the tokenizer does",
    )
    free.add_argument("--prefix", choices=["none", "bos", "chat"], default="none", help="what stands before the text")
    free.add_argument("--layers", type=_numbers, help="some layers only, e.g. 0,5,6")
    free.add_argument("--heads", type=_numbers, help="some heads of each layer only")
    free.add_argument("--out", type=Path, default=Path("runs/attention"), help="folder (default: %(default)s)")
    arguments = parser.parse_args(argv)
    if arguments.model or arguments.text or arguments.adapter:
        return guarded(lambda: _probe_text(arguments))

    def work(config: Config, run: RunDir) -> dict[str, Any]:
        from pipelines.attention.handout import probe_handout

        return probe_handout(config, run, arguments.phase)

    return run_stage(PROBE[arguments.phase], work, arguments)


def _probe_text(arguments: argparse.Namespace) -> int:
    if arguments.run or arguments.overrides:
        raise ConfigError("--model, --text and --adapter work without a run; leave out --run and --set, name --out")
    from pipelines.attention.findings import find, write_findings
    from pipelines.attention.scores import TELLING_RULE
    from pipelines.attention.study import Subject, clear, shown_head, study, table, write_explorer
    from pipelines.models import load_model, model_identity

    config = ModelConfig(name=arguments.model or "bundled", dtype="float32")
    subject = Subject(
        text=arguments.text or "1 a 2 b 3",
        splits=("symbols", "text") if arguments.tokens == "both" else (arguments.tokens,),
        prefix=arguments.prefix,
        layers=arguments.layers,
        heads=arguments.heads,
    )
    info = {"model": model_identity(config)}
    clear(arguments.out)
    policy = load_model(config)
    maps = study(*policy, subject, arguments.out, info=info)
    layer, head = shown_head(arguments.out)
    if arguments.seeds:
        write_findings(arguments.out, "before", find(*policy, maps, (layer, head), arguments.seeds))
    if arguments.adapter:
        _probe_adapter(arguments, subject, config, maps)
    page = write_explorer(arguments.out)
    print(f"layer {layer}, head {head} of {len(maps.layers)} × {len(maps.heads)}: {TELLING_RULE}\n")
    print(table(maps, layer, head))
    print(f"\n0: exactly 0, hidden by the mask, in every head. → {page}")
    return 0


def _probe_adapter(arguments: argparse.Namespace, subject: Subject, config: ModelConfig, before: AttentionMaps) -> None:
    from pipelines.attention.findings import compare_scale, find_change, write_findings
    from pipelines.attention.probe import Selection, probe
    from pipelines.attention.study import study
    from pipelines.attention.symbols import encode
    from pipelines.models import attach_adapter

    model, tokenizer = attach_adapter(config, arguments.adapter)
    info = {"model": before.info["model"], "adapter": arguments.adapter.name}
    after = study(model, tokenizer, subject, arguments.out, phase="after", info=info)
    findings: dict[str, Any] = {"change": find_change(model, tokenizer, before, after)}
    if arguments.other_adapter:
        other, _ = attach_adapter(config, arguments.other_adapter)
        sequence = encode(tokenizer, subject.text, split=subject.splits[0], prefix=subject.prefix)
        selection = Selection(layers=subject.layers, heads=subject.heads)
        findings["scale"] = compare_scale(before, after, probe(other, tokenizer, sequence, selection))
    write_findings(arguments.out, "after", findings)


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be numbers separated by commas, got {text!r}") from None


if __name__ == "__main__":
    sys.exit(main())
