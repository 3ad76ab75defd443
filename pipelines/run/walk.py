"""Walks the plan: skips what is up to date, does each stage, stops at the first that fails.

Stages are called in this process, which loads the libraries once; training is started by `accelerate launch`, as a user
would start it. A stage notes in the manifest what it took and the hashes of what it read and wrote.
"""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.config import Config, read_yaml
from pipelines.errors import ConfigError
from pipelines.run.folder import Round, Run
from pipelines.run.processes import is_main_process, peak_rss_mb, release_memory
from pipelines.run.shipped import shipped
from pipelines.run.stages import Stage, plan, train_stage


class StageFailedError(Exception):
    """A launched stage ended with an exit code other than 0, having said why."""

    def __init__(self, stage: Stage, code: int) -> None:
        super().__init__(f"stopped at stage {stage.name!r}; the same command goes on from there")
        self.code = code


def walk(config: Config, run: Run, stages: Sequence[Stage] | None = None) -> None:
    """Bring the run's stages up to date, all of its plan unless some are given.

    Raises StageFailedError when a launched stage fails; what fails in this process raises its own error.
    """
    started = time.monotonic()
    if not run.is_done(train_stage(run.last)):
        check_settings(config, run)
    stages = plan(run) if stages is None else stages
    for number, stage in enumerate(stages, start=1):
        label = f"[{number}/{len(stages)}] {stage.title}"
        if not stage.repeated and run.is_done(stage):
            print(f"{label}: up to date, skipped", flush=True)
            continue
        print(f"{label} …", flush=True)
        if stage.launched:
            code = _launch(stage, config, run)
            if code != 0:
                raise StageFailedError(stage, code)
        else:
            perform(stage, config)
            release_memory()  # a model must not outlive its stage, least of all beside the training
    print(f"done in {(time.monotonic() - started) / 60:.1f} minutes: {stages[-1].writes[-1]}", flush=True)


def perform(stage: Stage, config: Config) -> dict[str, Any]:
    """Do a stage's work in this process, note it in the manifest, say what was written; returns the facts."""
    module, _, function = stage.work.partition(":")
    work = getattr(importlib.import_module(module), function)
    place = stage.place
    run = place.run if isinstance(place, Round) else place
    own = _own(stage, config)
    started = time.monotonic()
    facts: dict[str, Any] = work(own, place, stage.phase) if stage.phase else work(own, place)
    if is_main_process():
        seconds = round(time.monotonic() - started, 1)
        run.record_stage(stage, {"seconds": seconds, "peak_rss_mb": peak_rss_mb(), **facts}, seed=config.seed)
        print(f"{stage.name}: {_shown(facts)} → {_written(stage)} ({seconds} s)", flush=True)
    return facts


def _own(stage: Stage, config: Config) -> Config:
    """The config of the stage's round, if it is of one."""
    return config.in_round(stage.place.number) if isinstance(stage.place, Round) else config


def check_stage(stage: Stage, config: Config) -> None:
    """Refuse a model without a chat template before its weights are loaded, where the stage is to talk to it."""
    own = _own(stage, config)
    talks = {
        "sample": own.sampling.server is None,
        "train": own.training.dataset is None,  # others' rows may be plain text
        "evaluate": True,
    }
    if talks.get(stage.verb):
        _check_model(own)


def _check_model(config: Config) -> None:
    models = importlib.import_module("pipelines.models")
    models.require_chat_template(models.load_tokenizer(config.model))


def check_settings(config: Config, run: Run) -> None:
    """Find a mistake in what later stages hand to libraries now, not after minutes of sampling."""
    # Imported here because they take seconds that --help need not pay.
    checks = importlib.import_module("pipelines.training.checks")
    launcher_config(config)
    for number in range(1, config.rounds + 1):
        checks.check_round(config.in_round(number), run.round(number))
    _check_model(config)


def _launch(stage: Stage, config: Config, run: Run) -> int:
    # The run folder's own config is the resolved one: overrides need not be repeated.
    options = ["--config", str(run.config_file), "--run", str(run.root), *stage.arguments]
    command = [sys.executable, *launcher(config), "-m", "pipelines", stage.verb, *options]
    environment = {**os.environ, **launcher_environment(config)}
    pressed: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    try:
        # The launcher answers Ctrl-C with a traceback of its own: it gets a session of its own, is asked to end below,
        # and is started while Ctrl-C is only noted: raised within Popen, it would leave a child that nobody knows.
        child = subprocess.Popen(command, env=environment, start_new_session=True)
    except BaseException:
        signal.signal(signal.SIGINT, handler)
        raise
    try:
        signal.signal(signal.SIGINT, handler)
        if pressed:
            raise KeyboardInterrupt
        return child.wait()
    except KeyboardInterrupt:
        try:
            os.killpg(child.pid, signal.SIGTERM)
            child.wait(timeout=30)
        except (KeyboardInterrupt, subprocess.TimeoutExpired):
            child.kill()
            child.wait()
        raise


def launcher(config: Config) -> list[str]:
    """`-m accelerate.commands.launch --config_file …` for the config's `training.accelerate`.

    The shipped configs name eight GPUs; where the config says `auto`, the processes are as many as there are GPUs.
    """
    command = ["-m", "accelerate.commands.launch", "--quiet", "--config_file", str(launcher_config(config))]
    gpus = _gpus(config)
    return [*command, "--num_processes", str(gpus)] if config.training.accelerate == "auto" and gpus > 1 else command


def _gpus(config: Config) -> int:
    import torch  # noqa: PLC0415 - half a second that --help need not pay

    return torch.cuda.device_count() if config.model.device != "cpu" else 0


def launcher_config(config: Config) -> Path:
    """The launcher's YAML file: a name in configs/accelerate, a path, or the one that suits this machine."""
    wanted = config.training.accelerate
    if wanted == "auto":
        gpus = _gpus(config)
        wanted = "cpu" if gpus == 0 else "single_gpu" if gpus == 1 else "multi_gpu"
    configs = shipped("configs/accelerate")
    for path in (Path(wanted), configs / f"{wanted}.yaml"):
        if path.is_file():
            return path
    known = ", ".join(sorted(path.stem for path in configs.glob("*.yaml")))
    raise ConfigError(f"training.accelerate must be auto, a file or one of {known}; got {wanted!r}")


def launcher_environment(config: Config) -> dict[str, str]:
    """What the launcher needs said in the environment: without it accelerate never forms a group of CPU processes."""
    settings = read_yaml(launcher_config(config))
    if not isinstance(settings, dict) or not settings.get("use_cpu"):
        return {}
    threads = max(1, (os.cpu_count() or 1) // int(settings.get("num_processes") or 1))
    return {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads))}


def _shown(facts: dict[str, Any]) -> str:
    plain = {name: value for name, value in facts.items() if not isinstance(value, dict | list | type(None))}
    return ", ".join(f"{name.replace('_', ' ')} {_number(value)}" for name, value in plain.items())


def _number(value: Any) -> str:
    """Three digits of a fraction say enough."""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _written(stage: Stage) -> str:
    """What the stage wrote, or the folder that all of it is in."""
    return os.path.commonpath(stage.writes)
