"""Where a wrong answer goes wrong: the first character after which it can no longer become right.

Reads an answer's text and its task. Returns a `Fault`, or None for an answer that passes every tier. What stands before
a fault can still be continued into a right answer, whatever the spacing and the order of keys, so that the answer can
be cut there and finished otherwise. Under accepted values this is exact but for odd spellings of numbers (`prefixes`).
Under a schema alone each error is placed by its keyword: whether all keywords together leave a way out is not decided,
and where a keyword does not tell which character breaks it, that is the whole value's first. Of an unfinished text
`unevaluatedProperties` and `contains` are not judged yet, and `if` is judged by what is there. If a schema alone
refuses an answer, but nothing in its first 10,000 characters or so, the fault is at its start. Repairs nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import operator
import re
from collections.abc import Iterable
from typing import Any, Final, Literal

from pipelines.records import FencePolicy, Task
from pipelines.rewards.json_parser import JSONRejected, end_of_whole_characters, parse_json
from pipelines.rewards.outline import Node, Outline, finished_escape, outline
from pipelines.rewards.prefixes import Misfit, first_misfit, misfit_of_key, offset_of_character, wanted_value
from pipelines.rewards.schemas import compile_schema, first_repeat
from pipelines.rewards.verdicts import verify

FaultKind = Literal["syntax", "root_type", "schema", "value"]

_FENCE_OPENS = re.compile(r"[ \t\n\r]*+```(?:json|JSON)?+[ \t]*+\r?+\n")
_FENCE_CLOSES = re.compile(r"(?<=\n)[ \t]*+(?P<fence>```[ \t\n\r]*+)")
_UNDONE_LATER: Final = frozenset(
    "required minProperties minItems minLength contains multipleOf unevaluatedProperties unevaluatedItems".split()
)
"""Errors of an unfinished value that what follows may undo."""
_GROWS: Final = frozenset({"minimum", "exclusiveMinimum"})
_SHRINKS: Final = frozenset({"maximum", "exclusiveMaximum"})
"""Likewise, of an unfinished number without a minus sign, and with one."""
_MOST_WORK: Final = 200_000
"""Characters times levels up to which a schema's errors are listed, where the validator's cost may be quadratic."""
_DEEPEST_CHOICE: Final = 32
"""Levels of `anyOf` within `anyOf` that are looked into."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """The first mistake of an answer."""

    kind: FaultKind
    offset: int
    """Length in characters of the longest prefix that could still become right."""
    pointer: str
    """JSON pointer (RFC 6901) to the value or key at fault; empty for the whole value."""
    keyword: str | None = None
    """What a `schema` fault violates, as `jsonschema-rs` names it (`falseSchema` for a schema that is `false`); None
    where that is not known."""


def locate_fault(text: str, task: Task, *, assert_formats: bool = False) -> Fault | None:
    """The first character after which an answer can no longer become right.

    Args:
        text: the answer as sampled, finished or cut off.
        task: what was asked; its `schema`, `targets` and `fences` say what is right.
        assert_formats: whether the schema's `format` is asserted.

    Returns:
        The fault, its offset counted in the whole text; None just when `verify(text, task)` passes.

    Raises:
        DataError: when the task's own schema or target is broken; never for a text.

    Example:
        >>> task = Task(id="a", family="a", key="a", split="train", prompt="Where?", targets=('{"city": "Rome"}',))
        >>> locate_fault('{"city": "Rimini"}', task)
        Fault(kind='value', offset=11, pointer='/city', keyword=None)
    """
    judge = functools.partial(verify, assert_formats=assert_formats)
    if judge(text, task).passed:
        return None
    if task.answer_schema is not None:
        shown = locate_fault(text, dataclasses.replace(task, answer_schema=None), assert_formats=assert_formats)
        hidden = dataclasses.replace(task, schema=task.answer_schema, answer_schema=None)
        wanted = locate_fault(text, hidden, assert_formats=assert_formats)
        if wanted and wanted.kind != "syntax":
            wanted = dataclasses.replace(wanted, kind="value")
        return min((one for one in (shown, wanted) if one), key=operator.attrgetter("offset"))
    begin, end, behind = _fenced(text, task.fences)
    task = dataclasses.replace(task, fences="forbid")
    if begin and judge(text[begin:end], task).passed:
        return Fault(kind="syntax", offset=behind, pointer="")
    fault = _first_fault(text[begin:end], task, assert_formats)
    return dataclasses.replace(fault, offset=begin + fault.offset)


def _fenced(text: str, fences: FencePolicy) -> tuple[int, int, int]:
    """Where the answer begins and ends, and how far what follows it is what a fence may have."""
    opening = _FENCE_OPENS.match(text) if fences == "unwrap" else None
    if opening is None:
        return 0, len(text), len(text)
    closing = _FENCE_CLOSES.search(text, opening.end())
    return (opening.end(), *(closing.span("fence") if closing else (len(text), len(text))))


def _first_fault(text: str, task: Task, assert_formats: bool) -> Fault:
    syntax: Fault | None = None
    try:
        parse_json(text)
    except JSONRejected as rejected:
        text = text[: rejected.offset]
        syntax = Fault(kind="syntax", offset=rejected.offset, pointer="")
    parts = outline(text, whole=syntax is None)
    if syntax and not parts.root.kind:
        return syntax
    fault = _schema_fault(parts, task, assert_formats)
    misfits = _misfits_of_targets(parts, task, assert_formats)
    if misfits and None not in misfits:
        # Accepted values tell exactly how far the answer is right; the schema, why it is not.
        at, node = _furthest(misfits)
        broken = fault and fault.offset <= at
        fault = dataclasses.replace(fault, offset=at) if fault and broken else _fault("value", (at, node))
    elif misfits and syntax:
        fault = None
    if syntax and (fault is None or syntax.offset <= fault.offset):
        return dataclasses.replace(syntax, pointer=parts.innermost.pointer if parts.innermost else "")
    return fault or _fault("value", (parts.root.start, parts.root))


def _misfits_of_targets(parts: Outline, task: Task, assert_formats: bool) -> list[Misfit | None]:
    """Where the text stops being the beginning of each accepted value that its task lets pass."""
    schema = None if task.schema is None else compile_schema(task.schema, assert_formats).document
    return [
        first_misfit(parts.text, parts.root, wanted_value(target), schema)
        for target in task.targets
        if verify(target, task, assert_formats=assert_formats).passed
    ]


def _schema_fault(parts: Outline, task: Task, assert_formats: bool) -> Fault | None:
    """What the root type or the schema refuses first, in what is finished of the value."""
    surrogate: Fault | None = None
    at = end_of_whole_characters(parts.text)
    if task.schema is not None and at < len(parts.text) and not finished_escape(parts.text[at:]):
        parts = outline(parts.text[:at], whole=False)
        surrogate = _fault("schema", (at, parts.innermost or parts.root))
    document = parts.finished()
    verdict = verify(document, task, assert_formats=assert_formats)
    if verdict.parses and verdict.root_type is False:
        return _fault("root_type", (parts.root.start, parts.root))
    if task.schema is None or not verdict.parses or verdict.schema_valid:
        return surrogate
    most = _MOST_WORK // (parts.depth + 16)
    if len(parts.text) > most:
        parts = outline(parts.text[:most], whole=False)
        document = parts.finished()
    schema = compile_schema(task.schema, assert_formats)
    found: Fault | None = None
    with contextlib.suppress(ValueError, OverflowError, RecursionError):  # what the validator cannot take in
        value = parse_json(document)
        found = _Errors(parts=parts, schema=schema.document, value=value).first(schema.validator.iter_errors(value))
    if found is None and (parts.innermost is None or len(parts.text) == most):
        found = _fault("schema", (parts.root.start, parts.root))
    return found or surrogate


def _fault(kind: FaultKind, misfit: Misfit, keyword: str | None = None) -> Fault:
    return Fault(kind=kind, offset=misfit[0], pointer=misfit[1].pointer, keyword=keyword)


def _furthest(misfits: Iterable[Misfit | None]) -> Misfit:
    return max((misfit for misfit in misfits if misfit), key=operator.itemgetter(0))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Errors:
    """Places the validator's errors in the text."""

    parts: Outline
    schema: Any
    """Its JSON value."""
    value: Any
    """Of the text, finished."""

    def first(self, errors: Iterable[Any], level: int = 0) -> Fault | None:
        """The error that shows first; None where what follows may undo them all."""
        first: Fault | None = None
        for error in errors:
            node = functools.reduce(Node.child, error.instance_path, self.parts.root)
            if first is None or node.begin < first.offset:
                fault = self._fault(error, node, level)
                if fault and (first is None or fault.offset < first.offset):
                    first = fault
        return first

    def _fault(self, error: Any, node: Node, level: int) -> Fault | None:
        keyword = error.kind.name
        if not node.closed and _may_be_undone(keyword, node):
            return None
        if keyword in ("anyOf", "oneOf"):
            return self._fault_of_choice(error, node, level)
        misfit = self._misfit(error, node) or ((node.begin, node) if node.closed else None)
        return _fault("schema", misfit, keyword) if misfit else None

    def _fault_of_choice(self, error: Any, node: Node, level: int) -> Fault | None:
        """Of the schemas to choose from, the one that the text keeps to for longest tells where."""
        own = _fault("schema", (node.start, node), error.kind.name)
        if level == _DEEPEST_CHOICE:
            return own
        faults = [self.first(errors, level + 1) for errors in error.kind.context]
        known = [fault for fault in faults if fault]
        if len(known) < len(faults):
            return own if node.closed else None
        furthest = max(known, key=operator.attrgetter("offset"))
        return furthest if furthest.offset > node.start else dataclasses.replace(own, offset=furthest.offset)

    def _misfit(self, error: Any, node: Node) -> Misfit | None:
        kind, text = error.kind, self.parts.text
        match kind.name:
            case "required" if self._is_full(error, node):
                return node.start, node
            case "required" | "minProperties" | "minItems" | "minLength":
                return node.end - 1, node
            case "maxLength":
                return offset_of_character(text, node.start, kind.limit), node
            case "maxItems" | "additionalItems":
                return _at(node.children[kind.limit])
            case "maxProperties":
                first_of_name = {child.key: child for child in reversed(node.children)}.values()
                return _at(sorted(first_of_name, key=operator.attrgetter("begin"))[kind.limit])
            case "additionalProperties":
                return self._misfit_of_keys(node, kind.unexpected, self._permitted(error))
            case "unevaluatedProperties":
                return self._misfit_of_keys(node, kind.unexpected, None)
            case "propertyNames":
                return self._misfit_of_keys(node, [kind.error.instance], None)
            case "uniqueItems":
                items = functools.reduce(operator.getitem, error.instance_path, self.value)
                repeat = first_repeat(items if node.children[-1].closed else items[:-1])
                return None if repeat is None else _at(node.children[repeat])  # there may be no other item left
            case "enum" | "const":
                return self._misfit_of_options(node, kind.options if kind.name == "enum" else [kind.expected_value])
            case "falseSchema" if node.children and _refuses_every_key(error.schema_path):
                return _at(node.children[0])
            case "falseSchema" | "not":
                return _at(node)
        return node.start, node

    def _misfit_of_keys(self, node: Node, unexpected: Iterable[str], permitted: set[str] | None) -> Misfit | None:
        """The first of the unexpected keys, and how far it is one of those permitted, where these can be listed."""
        refused = set(unexpected)
        for child in node.children:
            if child.key is not None and child.key not in refused:
                if permitted:
                    permitted.discard(str(child.key))
            elif permitted is not None:
                return misfit_of_key(self.parts.text, child, permitted)
            elif child.key is not None:
                return _at(child)
        return None

    def _misfit_of_options(self, node: Node, options: Iterable[Any]) -> Misfit | None:
        anywhere = {"type": "number"}  # to a schema, 1.0 is 1
        wanted = (wanted_value(json.dumps(option)) for option in options)
        misfits = [first_misfit(self.parts.text, node, each, anywhere) for each in wanted]
        return None if None in misfits else _furthest(misfits)

    def _permitted(self, error: Any) -> set[str] | None:
        """The keys that a schema without `additionalProperties` has; None where they cannot be listed."""
        owner = self._owner(error)
        properties = owner.get("properties")
        if owner.get("additionalProperties") is not False or owner.get("patternProperties"):
            return None
        return {key for key in properties if properties[key] is not False} if isinstance(properties, dict) else None

    def _is_full(self, error: Any, node: Node) -> bool:
        most = self._owner(error).get("maxProperties")
        return isinstance(most, int | float) and len(node.by_key) >= most

    def _owner(self, error: Any) -> dict[str, Any]:
        """The schema that an error's keyword stands in; empty where it is not found by its path."""
        try:
            owner = functools.reduce(operator.getitem, error.schema_path[:-1], self.schema)
        except (LookupError, TypeError):
            return {}
        return owner if isinstance(owner, dict) else {}


def _at(node: Node) -> Misfit:
    """Where the node should not have begun."""
    return node.begin, node


def _may_be_undone(keyword: str, node: Node) -> bool:
    """Whether what follows may undo an error of an unfinished value; of one that has not begun only the name counts."""
    if not node.kind:
        return keyword != "falseSchema" or node.key is None
    return keyword in _UNDONE_LATER or keyword in (_SHRINKS if node.kind == "-" else _GROWS)


def _refuses_every_key(schema_path: list[str | int]) -> bool:
    *_, above, keyword = ["", "", *schema_path]
    return keyword in ("additionalProperties", "propertyNames") and above not in ("properties", "patternProperties")
