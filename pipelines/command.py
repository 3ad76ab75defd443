"""What every script shares: arguments, the run folder, timing, and errors as one line.

A script hands over its stage and a function from config and run folder to facts; it gets an exit code: 0 done, 2 the
user's mistake (one line, no traceback), 130 stopped by Ctrl-C, 1 (a traceback) our bug. Imports nothing heavy, so that
`--help` is quick; scripts import their library inside the function.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from pipelines.config import Config, load_config
from pipelines.errors import PipelineError
from pipelines.processes import peak_rss_mb
from pipelines.rundir import RunDir
from pipelines.stages import ROUND, Stage

Work = Callable[[Config, RunDir], dict[str, Any]]
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
DEFAULT_CONFIG = Path("configs/default.yaml")


def build_parser(description: str, config: Path = DEFAULT_CONFIG) -> argparse.ArgumentParser:
    """The arguments that every script takes; `config` is the file that is read when none is named."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--config", type=Path, default=config, help="experiment file (default: %(default)s)")
    parser.add_argument("--run", type=Path, help="run folder (default: runs/<name of the config>)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        dest="overrides",
        help="override one value of the config; may be given several times",
    )
    return parser


def add_round(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """`--round`, for the stages that each round has."""
    parser.add_argument("--round", type=int, help="of a run of several rounds, which (default: the last)")
    return parser


def open_run(arguments: argparse.Namespace) -> tuple[Config, RunDir]:
    """The config and the run folder that the arguments name."""
    config = load_config(arguments.config, arguments.overrides)
    root = arguments.run or Path("runs") / arguments.config.stem
    return config, RunDir.open(root, config) if is_main_process() else RunDir(root)


def run_stage(stage: Stage, work: Work, arguments: argparse.Namespace) -> int:
    """Do a stage's work, note it in the manifest, say what was written; returns the exit code."""

    def body() -> int:
        config, run = open_run(arguments)
        done = stage
        if stage in ROUND:
            number, rounds = arguments.round or config.rounds, config.rounds
            config, run, done = config.in_round(number), run.in_round(number, rounds), stage.in_round(number, rounds)
        started = time.monotonic()
        facts = work(config, run)
        if is_main_process():
            seconds = round(time.monotonic() - started, 1)
            run.record(seed=config.seed)
            run.record_stage(
                done.name, {"seconds": seconds, "peak_rss_mb": peak_rss_mb(), **facts}, done.inputs, done.outputs
            )
            written = ", ".join(str(run.root / name) for name in done.outputs)
            print(f"{done.name}: {_shown(facts)} → {written} ({seconds} s)")
        return 0

    return guarded(body)


def guarded(body: Callable[[], int]) -> int:
    """Run `body`; the user's mistakes and the machine's limits become one line on stderr."""
    # Set before any library reads it: nothing is sent anywhere unless the user's environment says so.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")
    try:
        return body()
    except PipelineError as error:
        return _complain(str(error))
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the last finished stage", file=sys.stderr)
        return 130
    except OSError as error:
        if error.errno in _FULL:
            return _complain(
                f"no space left for {error.filename or 'the run folder'}; free some, or name another --run"
            )
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return _complain(f"{error.filename}: cannot be written; fix its permissions, or name another --run")
        raise
    except SafetensorError as error:  # the library's own class for a failed write
        if any(f"os error {number}" in str(error) for number in _FULL):
            return _complain("no space left for the weights; free some, or name another --run")
        raise


def is_main_process() -> bool:
    """Whether this process is the first of those a launcher started, or the only one."""
    return int(os.environ.get("RANK", "0")) == 0


def _complain(message: str) -> int:
    print("error: " + " ".join(message.split()), file=sys.stderr)
    return 2


def _shown(facts: dict[str, Any]) -> str:
    plain = {name: value for name, value in facts.items() if not isinstance(value, dict | list)}
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in plain.items())


def main_of(stage: Stage, work: Work, description: str, argv: Sequence[str] | None) -> int:
    """`main` of a script that takes no argument of its own."""
    parser = build_parser(description)
    return run_stage(stage, work, (add_round(parser) if stage in ROUND else parser).parse_args(argv))
