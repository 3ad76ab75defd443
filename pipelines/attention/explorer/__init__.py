"""One self-contained page to look at, compare, judge and export attention maps."""

from pipelines.attention.explorer.page import Explorer, explore, render_explorer
from pipelines.attention.explorer.payload import View, build_view, require_room

__all__ = ["Explorer", "View", "build_view", "explore", "render_explorer", "require_room"]
