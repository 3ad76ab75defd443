"""YAML files as plain values.

Numbers are those of YAML 1.2, a key given twice is refused, a mistake is named by file, line and column.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from pipelines.errors import ConfigError


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, reading `5e-7` as the number it is (YAML 1.2) and refusing a key given twice."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\d[\d_]*)(\.[\d_]*)?[eE][-+]?\d+$"),
    list("-+0123456789"),
)


def _mapping_without_repeats(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen = [loader.construct_object(key, deep=True) for key, _ in node.value]
    repeated = sorted({str(key) for key in seen if seen.count(key) > 1})
    if repeated:
        raise yaml.constructor.ConstructorError(None, None, f"key {repeated[0]!r} is given twice", node.start_mark)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping_without_repeats)


def parse_yaml(text: str, source: str) -> Any:
    """The value of a YAML text; ConfigError names the source, line and column of a mistake."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a subclass of SafeLoader
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or "not YAML"
        mark = getattr(error, "problem_mark", None)
        where = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
        raise ConfigError(f"{where}: {problem}; mend the YAML") from error


def read_yaml(path: Path) -> Any:
    """The value of a YAML file; ConfigError when it cannot be read or parsed."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); name a YAML file that exists") from error
    return parse_yaml(text, str(path))
