"""The one command: a verb for the whole job and one for each of its stages.

Reads arguments; returns an exit code: 0 done, 2 the user's mistake (one line, no traceback), 130 stopped by Ctrl-C, 1
(a traceback) our bug. Imports nothing heavy before the work starts, so that `--help` is quick.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from pipelines.config import Config, load_config
from pipelines.errors import ConfigError, PipelineError
from pipelines.run import stages
from pipelines.run.folder import Run
from pipelines.run.processes import is_main_process
from pipelines.run.shipped import shipped
from pipelines.run.walk import StageFailedError, check_stage, perform, walk

DEFAULT_CONFIG = Path("configs/default.yaml")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_SPLITS: dict[str, Any] = {"symbols": ("symbols",), "text": ("text",), "both": ("symbols", "text")}
_OF_A_RUN = ("config", "overrides", "phase", "run")

Verb = Callable[[argparse.Namespace], None]


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the arguments say; returns the exit code."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    # Set before any library reads it: nothing is sent anywhere unless the user's environment says so.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")
    return guarded(lambda: arguments.do(arguments))


def build_parser() -> argparse.ArgumentParser:
    """Every verb with its options."""
    parser = argparse.ArgumentParser(
        prog="attend-and-prefer",
        description="Attention maps of a model, its own samples verified, preference pairs, DPO, and what changed.",
        epilog="A verb's own options: attend-and-prefer VERB --help",
        allow_abbrev=False,
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)

    def verb(name: str, do: Verb, summary: str, config: Path | None = DEFAULT_CONFIG) -> argparse.ArgumentParser:
        own = verbs.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        own.set_defaults(do=do)
        if config is not None:
            _add_run_options(own, config)
        return own

    def add_round(own: argparse.ArgumentParser) -> argparse.ArgumentParser:
        own.add_argument("--round", type=int, help="which, from 1 (default: the last)")
        return own

    verb("run", _run, "the whole job; skips what is up to date")
    verb("tasks", _tasks, "draw the tasks and split them")
    _add_probe_options(verb("probe", _probe, "attention maps: of a run, or of any model and text"))
    add_round(verb("sample", _sample, "draw samples of the training tasks and verify them"))
    imported = add_round(verb("verify", _verify, "verify a round's samples anew, or completions made elsewhere"))
    imported.add_argument("--completions", type=Path, metavar="FILE", help="JSON lines with task_id and completion")
    pushed = add_round(verb("pair", _pair, "make preference pairs, and a Hugging Face dataset"))
    pushed.add_argument("--push-to-hub", metavar="REPO", help="also upload the dataset to this Hub repository")
    add_round(verb("train", _train, "train the policy, in the processes that accelerate launch starts"))
    measured = verb("evaluate", _evaluate, "measure the test tasks, before or after training")
    measured.add_argument("--phase", choices=stages.PHASES, default="before", help="default: %(default)s")
    shown = verb("report", _report, "one page of a run")
    shown.add_argument("folder", nargs="?", type=Path, metavar="RUN", help="run folder, with its own config.yaml")
    compared = verb(
        "compare", _compare, "methods on the same samples, or finished runs", Path("configs/compare-methods.yaml")
    )
    compared.add_argument("folders", nargs="*", type=Path, metavar="RUN", help="a finished run's folder")
    _add_label_options(verb("label", _label, "labels of the same pairs from verifier, judge or person; agreement"))
    exported = verb("export", _export, "the trained model as a folder for others")
    exported.add_argument("--output", type=Path, help="the folder to write (default: export/ in the run folder)")
    exported.add_argument("--merged", action="store_true", help="the whole model with the adapter merged into it")
    exported.add_argument("--push-to-hub", metavar="REPO", help="also upload the folder to this Hub repository")
    return parser


def _add_run_options(parser: argparse.ArgumentParser, config: Path) -> None:
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


def _add_probe_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--phase", choices=stages.PHASES, help="of a run (default: before)")
    free = parser.add_argument_group("any model and text, without a run")
    free.add_argument("--model", help="`bundled`, a folder or a Hub id (default: bundled)")
    free.add_argument("--text", help='prose, or symbols separated by spaces (default: "1 a 2 b 3")')
    free.add_argument("--adapter", type=Path, help="a folder of adapter or trained weights to set beside the model")
    free.add_argument("--other-adapter", type=Path, help="another run's, e.g. of another seed: the scale of the change")
    free.add_argument("--seeds", metavar="N", help="also score N seeded sequences of each kind; 4 or more")
    tokens = "one token a symbol, the tokenizer's own split, or both (default: as the text allows)"
    free.add_argument("--tokens", choices=list(_SPLITS), help=tokens)
    free.add_argument("--prefix", choices=["none", "bos", "chat"], help="what stands before the text (default: none)")
    free.add_argument("--layers", metavar="N,N", help="some layers only, e.g. 0,5,6")
    free.add_argument("--heads", metavar="N,N", help="some heads of each layer only")
    free.add_argument("--out", type=Path, help="folder (default: runs/attention)")


def _add_label_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--labeler", choices=("human", "verifier", "judge"), default="human", help="default: %(default)s")
    add("--count", type=int, default=100, help="label the first so many comparisons (default: %(default)s)")
    add("--name", help="name of the label file (default: the labeler's, with the person or the model)")
    add("--person", help="human: who labels (default: the login name)")
    add("--model", default="policy", help="judge: policy, trained, a folder or a Hub id (default: %(default)s)")
    add("--server", metavar="URL", help="judge: an OpenAI-compatible API that has --model")
    add("--agreement", action="store_true", help="label nothing; how far the labelers so far agree")


def open_run(arguments: argparse.Namespace) -> tuple[Config, Run]:
    """The config and the run folder that the arguments name."""
    file = shipped(arguments.config)
    config = load_config(file, arguments.overrides)
    root = arguments.run or Path("runs") / file.stem
    return config, Run.open(root, config) if is_main_process() else Run(root, config.rounds)


def _perform(arguments: argparse.Namespace, stage_of: Callable[[Run], stages.Stage]) -> dict[str, Any]:
    config, run = open_run(arguments)
    stage = stage_of(run)
    check_stage(stage, config)
    return perform(stage, config)


def _in_round(arguments: argparse.Namespace, stage_of: Callable[[Any], stages.Stage]) -> dict[str, Any]:
    return _perform(arguments, lambda run: stage_of(_round(arguments, run)))


def _round(arguments: argparse.Namespace, run: Run) -> Any:
    number = arguments.round or run.rounds
    if not 1 <= number <= run.rounds:
        raise ConfigError(f"--round must be 1 to {run.rounds}, got {number}; name one of them")
    return run.round(number)


def _run(arguments: argparse.Namespace) -> None:
    walk(*open_run(arguments))


def _tasks(arguments: argparse.Namespace) -> None:
    _perform(arguments, stages.tasks_stage)


def _sample(arguments: argparse.Namespace) -> None:
    _in_round(arguments, stages.sample_stage)


def _verify(arguments: argparse.Namespace) -> None:
    from pipelines.samples.verifying import import_completions, verify_round

    config, run = open_run(arguments)
    place = _round(arguments, run)
    settings = config.in_round(place.number)
    file = arguments.completions
    facts = import_completions(settings, place, file) if file else verify_round(settings, place)
    print(f"verify: {_listed(facts)} → {place.samples}")


def _pair(arguments: argparse.Namespace) -> None:
    _in_round(arguments, stages.pair_stage)
    if arguments.push_to_hub:
        from pipelines.preferences.publishing import push_folder

        _, run = open_run(arguments)
        print(f"pushed to {push_folder(_round(arguments, run).dataset, arguments.push_to_hub, 'dataset')}")


def _train(arguments: argparse.Namespace) -> None:
    _in_round(arguments, stages.train_stage)


def _evaluate(arguments: argparse.Namespace) -> None:
    _perform(arguments, lambda run: stages.evaluate_stage(run, arguments.phase))


def _report(arguments: argparse.Namespace) -> None:
    if arguments.folder:
        if arguments.run:
            raise ConfigError("the run folder is named twice; leave out --run or RUN")
        arguments.run, arguments.config = arguments.folder, arguments.folder / "config.yaml"
    _perform(arguments, stages.report_stage)


def _compare(arguments: argparse.Namespace) -> None:
    if arguments.folders:
        if arguments.run or arguments.overrides:
            raise ConfigError("run folders are compared as they are; leave out --config, --run and --set")
        from pipelines.comparison import load_metrics, summary_table

        print(summary_table(load_metrics(arguments.folders)))
        return
    from pipelines.comparison import compare, load_comparison

    file = shipped(arguments.config)
    compare(load_comparison(file, arguments.overrides), arguments.run or Path("runs") / file.stem)


def _label(arguments: argparse.Namespace) -> None:
    config, run = open_run(arguments)
    if arguments.agreement:
        from pipelines.preferences.agreement import compare_labelers, render_agreement

        report = compare_labelers(config, run)
        print(render_agreement(report))
        stale = report["stale_labels"]
        print(f"\n{stale} labels of former samples left out → {run.labels / 'agreement.json'}")
        return
    from pipelines.preferences.labelers import LabelerOptions, build_labeler
    from pipelines.preferences.labelers.labels import label_missing, label_path, load_comparisons

    options = LabelerOptions(**{field: getattr(arguments, field) for field in LabelerOptions.__dataclass_fields__})
    comparisons = list(load_comparisons(run, config.seed, options.count))
    labeler = build_labeler(options, config, run, comparisons)
    facts = label_missing(run, labeler, comparisons, show_progress=options.labeler != "human")
    print(f"{labeler.name}: {_listed(facts)} → {label_path(run, labeler.name)}")


def _export(arguments: argparse.Namespace) -> None:
    from pipelines.preferences.publishing import push_folder
    from pipelines.release.export import export_model

    config, run = open_run(arguments)
    folder = arguments.output or run.root / "export"
    facts = export_model(config, run, folder, merged=arguments.merged)
    if arguments.push_to_hub:
        facts["pushed_to"] = push_folder(folder, arguments.push_to_hub, "model")
    print(f"export: {_listed(facts)} → {folder}")


def _probe(arguments: argparse.Namespace) -> None:
    given = {name: value for name, value in vars(arguments).items() if value not in (None, [])}
    for name in ("verb", "do"):
        del given[name]
    if arguments.config is DEFAULT_CONFIG:  # the same path typed by hand is another object, and was given
        del given["config"]
    if given.keys() - set(_OF_A_RUN):
        _probe_text(given)
    else:
        _perform(arguments, lambda run: stages.probe_stage(run, arguments.phase or "before"))


def _probe_text(given: dict[str, Any]) -> None:
    of_a_run, free = ([name for name in given if (name in _OF_A_RUN) == wanted] for wanted in (True, False))
    if of_a_run:
        raise ConfigError(f"{_options(of_a_run)} is of a run, and {_options(free)} works without one; leave one out")
    layers, heads, seeds = (_numbers(name, given.get(name)) for name in ("layers", "heads", "seeds"))
    if seeds is not None and len(seeds) != 1:
        raise ConfigError(f"--seeds must be one whole number, got {given['seeds']!r}; e.g. 8")
    from pipelines.attention.study import ProbeInput, ProbeRequest, probe_text

    text = ProbeInput(
        text=given.get("text", "1 a 2 b 3"),
        splits=_SPLITS[given["tokens"]] if "tokens" in given else None,
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


def _options(names: Sequence[str]) -> str:
    return ", ".join(f"--{'set' if name == 'overrides' else name.replace('_', '-')}" for name in names)


def _numbers(name: str, text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--{name} must be whole numbers, commas between them, got {text!r}; e.g. 0,5") from None


def _listed(facts: dict[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in facts.items())


def guarded(do: Callable[[], None]) -> int:
    """Do it; the user's mistakes and the machine's limits become one line on stderr."""
    try:
        do()
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
    except StageFailedError as failed:
        print(failed, file=sys.stderr)
        return failed.code
    return 0


def _complain(message: str) -> int:
    print("error: " + " ".join(message.split()), file=sys.stderr)
    return 2
