"""What can be found wrong with a round's settings before anything is drawn or trained."""

from __future__ import annotations

from pipelines.config import Config
from pipelines.engine.requests import build_processors
from pipelines.preferences.dataset import build_scoring
from pipelines.run.folder import Round
from pipelines.training.arguments import lora_arguments, trainer_arguments
from pipelines.training.rehearsal import check_rehearsal


def check_round(config: Config, place: Round) -> None:
    """ConfigError for the first mistake in what later stages hand to libraries."""
    build_scoring(config)
    build_processors(config.evaluation.generation)
    build_processors(config.sampling.generation)
    trainer_arguments(config.training, config.model, place.training, config.seed)
    lora_arguments(config.training)
    check_rehearsal(config)
