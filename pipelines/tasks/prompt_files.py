"""Files of ordinary requests, which ask for no JSON: YAML with a list of `prompts`."""

from __future__ import annotations

from pathlib import Path

from pipelines.config import read_yaml
from pipelines.errors import ConfigError


def load_prompts(path: Path) -> list[str]:
    """The prompts of a YAML file; ConfigError names what is wrong with it."""
    tree = read_yaml(path)
    prompts = tree.get("prompts") if isinstance(tree, dict) else None
    if not isinstance(prompts, list) or not prompts or not all(isinstance(one, str) and one for one in prompts):
        raise ConfigError(f"{path}: must hold `prompts:`, a list of texts; see data/chat.yaml")
    return prompts
