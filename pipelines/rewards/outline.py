"""Where each key and each value of a JSON text stands, be it whole or only begun.

Reads text that the parser has accepted, or the part of one before its first fault. Returns a tree of nodes with their
offsets in characters, and the least that would finish what is begun. Judges nothing, never recurses.
"""

from __future__ import annotations

import dataclasses
import json
import re

from pipelines.rewards.json_parser import end_of_whole_characters

_TOKEN = re.compile(r'[\[\]{},:]|"[^"\\]*+(?:\\.[^"\\]*+)*+(?:(")|\\?)|[^\[\]{},:" \t\n\r]++', re.DOTALL)
_LITERALS = {"t": "true", "f": "false", "n": "null"}
_CLOSERS = {"[": "]", "{": "}"}


@dataclasses.dataclass(kw_only=True, slots=True, eq=False)
class Node:
    """A value with its key, or the place of one that is still to come."""

    parent: Node | None
    begin: int
    """Offset of the comma before it; of its own first character where there is none."""
    key: str | int | None = None
    """Under what its parent has it; None for the root, and where the key is not finished."""
    key_start: int | None = None
    """Offset of a member's key; None while there is none."""
    key_end: int = 0
    kind: str = ""
    """The value's first character; empty while there is none."""
    start: int = 0
    end: int = 0
    closed: bool = False
    """Whether nothing that follows can change the value."""
    children: list[Node] = dataclasses.field(default_factory=list)
    """In the order of the text, repeated keys included."""
    by_key: dict[str, Node] = dataclasses.field(default_factory=dict)
    """An object's members; of repeated keys the last."""

    @property
    def pointer(self) -> str:
        """JSON pointer (RFC 6901) to the value; to the object that holds it while its key is not finished."""
        keys: list[str] = []
        node: Node | None = self
        while node:
            if node.key is not None:
                keys.append("/" + str(node.key).replace("~", "~0").replace("/", "~1"))
            node = node.parent
        return "".join(reversed(keys))

    def child(self, key: str | int) -> Node:
        """The member or item of that key."""
        return self.by_key[key] if isinstance(key, str) else self.children[key]

    def add(self, begin: int) -> Node:
        """A new member or item."""
        child = Node(parent=self, begin=begin, key=len(self.children) if self.kind == "[" else None)
        self.children.append(child)
        return child


@dataclasses.dataclass(kw_only=True, slots=True, eq=False)
class Outline:
    """A text and its nodes."""

    text: str
    root: Node
    innermost: Node | None
    """The innermost node that is not closed; None when all are."""
    depth: int
    """Of the deepest container; 1 for `[]`."""

    def finished(self) -> str:
        """The text with the least behind it that makes it JSON: null for a value that has not begun.

        A key that is not finished becomes one that the object does not have yet, under which `by_key` has its node.
        """
        node, text = self.innermost, self.text
        if node is None:
            return text
        if not node.kind:
            text = self._with_null(node)
        elif node.kind == '"':
            at = end_of_whole_characters(text, node.start)
            text = f'{text[:at]}{finished_escape(text[at:]) or ""}"'
        elif node.kind in _LITERALS:
            text += _LITERALS[node.kind][len(text) - node.start :]
        elif node.kind not in _CLOSERS and not text[-1].isdigit():
            text += "0"
        ancestor: Node | None = node
        while ancestor:
            text += _CLOSERS.get(ancestor.kind, "")
            ancestor = ancestor.parent
        return text

    def _with_null(self, node: Node) -> str:
        """The text up to a value that has not begun, with null for it."""
        if node.parent is None or node.parent.kind == "[":
            return self.text + "null"
        if node.key is not None:
            return self.text[: node.key_end] + ":null"
        absent = "\0"
        while absent in node.parent.by_key:
            absent += "\0"
        node.parent.by_key[absent] = node
        return f"{self.text[: node.key_start]}{json.dumps(absent)}:null"


def finished_escape(escape: str) -> str | None:
    """An escape that a text ends in, with what makes it a character; None where nothing does."""
    finished = [escape + character[len(escape) :] for character in (r"\u0061", r"\ud800\udc00")]
    return next((each for each in finished if end_of_whole_characters(each) == len(each)), None)


def outline(text: str, *, whole: bool) -> Outline:
    """The outline of a text; `whole` says that it is a document rather than the beginning of one."""
    node = root = Node(parent=None, begin=0)
    container: Node | None = None
    depth = deepest = 0
    for token in _TOKEN.finditer(text):
        mark, at = token[0], token.start()
        if container and mark == ",":
            node = container.add(at)
        elif container and mark in ("]", "}"):
            container.end, container.closed = token.end(), True
            node, container, depth = container, container.parent, depth - 1
        elif mark != ":":
            if container is node:
                node = node.add(at)
            if container and container.kind == "{" and node.key is None:
                _read_key(container, node, token)
                continue
            _read_value(node, token, whole)
            if mark in _CLOSERS:
                container, depth = node, depth + 1
                deepest = max(deepest, depth)
    return Outline(text=text, root=root, innermost=container if node.closed else node, depth=deepest)


def _read_key(container: Node, node: Node, token: re.Match[str]) -> None:
    node.key_start, node.key_end = token.span()
    if token[1]:
        key: str = json.loads(token[0])
        node.key = key
        container.by_key[key] = node


def _read_value(node: Node, token: re.Match[str], whole: bool) -> None:
    """A scalar, or the bracket that opens a container."""
    node.kind, node.start, node.end = token[0][0], token.start(), token.end()
    if node.parent is None:
        node.begin = node.start
    if node.kind == '"':
        node.closed = token[1] is not None
    elif node.kind not in _CLOSERS:
        # A number at the end may go on.
        node.closed = whole or token[0] in _LITERALS.values() or node.end < len(token.string)
