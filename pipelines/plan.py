"""Walks the plan: skips what is done and intact, starts each stage as its own process, stops at the first that fails.

A process per stage keeps the peak of memory that of the hungriest stage, and lets `accelerate launch` start training as
a user would.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from pipelines.config import Config
from pipelines.errors import ConfigError
from pipelines.rundir import RunDir
from pipelines.stages import TRAIN, Stage, plan
from pipelines.yaml_files import read_yaml

ROOT = Path(__file__).resolve().parent.parent
LAUNCHER_CONFIGS = ROOT / "configs" / "accelerate"


def run_plan(config: Config, run: RunDir, stages: Sequence[Stage] | None = None) -> int:
    """Bring the run's stages up to date, all unless some are named; the exit code of the first that failed, or 0."""
    started = time.monotonic()
    last = TRAIN.in_round(config.rounds, config.rounds)
    if not run.is_done(last.name, last.inputs, last.outputs):
        check_settings(config, run)
    stages = plan(config.rounds) if stages is None else stages
    for number, stage in enumerate(stages, start=1):
        label = f"[{number}/{len(stages)}] {stage.title}"
        if not stage.repeated and run.is_done(stage.name, stage.inputs, stage.outputs):
            print(f"{label}: done before, intact", flush=True)
            continue
        print(f"{label} …", flush=True)
        code = _start(stage, config, run)
        if code != 0:
            print(f"stopped at stage {stage.name!r}; the same command goes on from there", file=sys.stderr)
            return code
    minutes = (time.monotonic() - started) / 60
    print(f"done in {minutes:.1f} minutes: {run.root / stages[-1].outputs[-1]}", flush=True)
    return 0


def check_settings(config: Config, run: RunDir) -> None:
    """Find a mistake in what later stages hand to libraries now, not after minutes of sampling."""
    # Imported here because they take seconds that --help need not pay.
    from pipelines.preferences.dataset import build_scoring  # noqa: PLC0415
    from pipelines.sampling.requests import build_processors  # noqa: PLC0415
    from pipelines.training.arguments import lora_arguments, trainer_arguments  # noqa: PLC0415
    from pipelines.training.rehearsal import check_rehearsal  # noqa: PLC0415

    build_scoring(config)
    build_processors(config.evaluation.generation)
    launcher_config(config)
    for number in range(1, config.rounds + 1):
        settings = config.in_round(number)
        build_processors(settings.sampling.generation)
        trainer_arguments(settings.training, config.model, run.training, config.seed)
        lora_arguments(settings.training)
        check_rehearsal(settings)


def _start(stage: Stage, config: Config, run: RunDir) -> int:
    # The run folder's own config is the resolved one: overrides need not be repeated.
    script = [str(ROOT / "scripts" / stage.script), "--config", str(run.config_file), "--run", str(run.root)]
    command = [sys.executable, *(launcher(config) if stage.launched else []), *script, *stage.arguments]
    # The launcher answers Ctrl-C with a traceback of its own: it gets a session of its own, and is asked to end below.
    environment = {**os.environ, **launcher_environment(config, stage)}
    child = subprocess.Popen(command, env=environment, start_new_session=stage.launched)
    try:
        return child.wait()
    except KeyboardInterrupt:
        # The terminal sent other children the same signal; let them tidy up before they are ended.
        try:
            if stage.launched:
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
    for path in (Path(wanted), LAUNCHER_CONFIGS / f"{wanted}.yaml"):
        if path.is_file():
            return path
    known = ", ".join(sorted(path.stem for path in LAUNCHER_CONFIGS.glob("*.yaml")))
    raise ConfigError(f"training.accelerate must be auto, a file or one of {known}; got {wanted!r}")


def launcher_environment(config: Config, stage: Stage) -> dict[str, str]:
    """What the launcher needs said in the environment: without it accelerate never forms a group of CPU processes."""
    if not stage.launched:
        return {}
    settings = read_yaml(launcher_config(config))
    if not isinstance(settings, dict) or not settings.get("use_cpu"):
        return {}
    threads = max(1, (os.cpu_count() or 1) // int(settings.get("num_processes") or 1))
    return {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads))}
