"""The explorer's page: payload, style and scripts put into one file that asks the network for nothing.

The page's own policy forbids every request, and runs no script but the one it was made with. Tokens are untrusted text:
they travel as JSON and reach the page as text nodes.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from markupsafe import Markup

from pipelines.attention.explorer.payload import View, build_payload
<<<<<<< HEAD
from pipelines.pages import policy_hash
from pipelines.readable import readable, shortened
from pipelines.run.files import write_text
=======
from pipelines.html import page_environment, policy_hash
from pipelines.run.files import write_text
from pipelines.text import one_line
>>>>>>> deletions

_SCRIPTS = ("data", "theme", "draw", "overview", "sketch", "evidence", "export", "head", "app")
_IFRAME_PIXELS = 900
_LONGEST_TITLE = 80


def render_explorer(
    views: Sequence[View], *, title: str, findings: Mapping[str, Mapping[str, Any]] | None = None
) -> str:
    """The page as HTML; `findings` by phase fill its evidence.

    Raises DataError for maps that do not belong together, ConfigError for too many weights."""
    title = one_line(title, _LONGEST_TITLE)
    here = files("pipelines.attention.explorer")
    script = "\n".join(
        ["(() => {", '"use strict";', *((here / f"{name}.js").read_text("utf-8") for name in _SCRIPTS), "})();"]
    )
    style = (here / "explorer.css").read_text("utf-8")
    template = page_environment("pipelines.attention", "explorer").get_template("explorer.html.j2")
    return template.render(
        title=title,
        style=Markup(style),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704 - our own files
        style_hash=policy_hash(style),
        script_hash=policy_hash(script),
        payload=Markup(_embed(build_payload(views, title, findings))),  # noqa: S704 - every `<` is escaped
    )


class Explorer:
    """The page as an object that notebooks show, in a frame that cannot reach them."""

    def __init__(
        self, views: Sequence[View], *, title: str, findings: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        self.html = render_explorer(views, title=title, findings=findings)

    def save(self, path: Path) -> None:
        """Write the page to a file."""
        write_text(path, self.html)

    def _repr_html_(self) -> str:
        return (
            f'<iframe title="attention explorer" sandbox="allow-scripts allow-downloads" width="100%" '
            f'height="{_IFRAME_PIXELS}" style="border:0" srcdoc="{html.escape(self.html)}"></iframe>'
        )


def _embed(payload: object) -> str:
    """JSON that no HTML parser can leave, and no script parser trip over."""
    text = json.dumps(payload, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
