"""The verdict on a completion, tier by tier: parses, root type, schema, exact value.

Reads a completion's text and its task. Returns a `Verdict` and, whatever the completion, raises nothing; a task whose
own schema or target is broken raises `DataError`, which `check_task` finds out beforehand. A tier that the task does
not define is None; once a tier fails, the defined ones after it are False. Never looks for JSON inside prose.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from typing import Any, Final, Literal

from pipelines.errors import DataError
from pipelines.records import FencePolicy, FinishReason, Task, Verdict
from pipelines.rewards.equality import same_value
from pipelines.rewards.json_parser import JSONRejected, notes_on, parse_json
from pipelines.rewards.schemas import CompiledSchema, compile_schema

TIER_REASONS: Final = ("truncated", "wrong_root_type", "schema_violation", "wrong_value")
"""Why a completion that is JSON failed; one that is not has its reason from `json_parser.REASONS`."""

_FENCED = re.compile(r"[ \t\n\r]*+```(?:json|JSON)?+[ \t]*+\r?+\n(?P<body>.*)\n[ \t]*+```[ \t\n\r]*+", re.DOTALL)
_TYPE_NAMES: Final[dict[type, str]] = {
    dict: "object",
    list: "array",
    str: "string",
    bool: "boolean",
    int: "number",
    float: "number",
    type(None): "null",
}

_Level = Literal[0, 1, 2, 3, 4]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Criteria:
    """What one task asks of a value."""

    root_type: str | None
    schema: CompiledSchema | None
    targets: tuple[str, ...]
    """The accepted values as JSON text; empty when the task defines none."""
    answers: CompiledSchema | None
    """What an accepted value fits, where that is how the task names them."""

    @property
    def names_answers(self) -> bool:
        """Whether anything is known of the accepted values."""
        return bool(self.targets) or self.answers is not None


def verify(
    completion: str, task: Task, finish_reason: FinishReason = "stop", *, assert_formats: bool = False
) -> Verdict:
    """The verdict on a completion of a task.

    Args:
        completion: the text as sampled.
        task: what was asked; its `schema`, `targets` or `answer_schema`, and `fences` define the tiers.
        finish_reason: `length` for a completion cut off at the token limit, which passes no tier.
        assert_formats: whether the schema's `format` is asserted.

    Returns:
        The tiers passed and, when one failed, why and where.

    Raises:
        DataError: when the task's own schema or target is broken; never for a completion.

    Example:
        >>> task = Task(id="a", family="a", key="a", split="train", prompt="Write [1].", targets=("[1]",))
        >>> verify("[1", task).reason, verify("[1]", task).passed
        ('unexpected_end', True)
    """
    criteria = _criteria(task.schema, task.targets, task.answer_schema, assert_formats)
    body, begin = _body(completion, task.fences)
    notes: tuple[str, ...] = ("unwrapped_fence",) if begin else ()
    try:
        value = parse_json(body)
    except JSONRejected as rejected:
        return _verdict(criteria, 0, rejected.reason, finish_reason, notes, begin + rejected.offset)
    notes += notes_on(body)
    if finish_reason == "length":
        return _verdict(criteria, 0, "truncated", finish_reason, notes, len(completion))
    passed = _tiers_passed(value, body, notes, criteria)
    return _verdict(criteria, passed, (*TIER_REASONS, None)[passed], finish_reason, notes, None)


def check_task(schema: str | None, target: str | None) -> None:
    """Finds out whether some completion could meet a task's schema and target.

    Args:
        schema: JSON Schema as JSON text, or None.
        target: an accepted value as JSON text, or None.

    Returns:
        None, when one could.

    Raises:
        DataError: in one line without file and line number, when none could.

    Example:
        >>> check_task('{"type": "array"}', "[1]")
        >>> check_task('{"type": "array"}', "1")  # DataError: target must be valid under the schema, ...
    """
    criteria = _criteria(schema, () if target is None else (target,), None, False)
    if target is not None and criteria.schema and not _fits(parse_json(target), notes_on(target), criteria.schema):
        raise DataError(f"target must be valid under the schema, got {target[:80]!r}; fix one of them")


def _tiers_passed(value: Any, text: str, notes: tuple[str, ...], criteria: _Criteria) -> _Level:
    """How many tiers hold, from the first on; one that the task does not define holds."""
    if criteria.root_type is not None and not _is_a(value, criteria.root_type):
        return 1
    if criteria.schema and not _fits(value, notes, criteria.schema):
        return 2
    schema = criteria.schema.document if criteria.schema else None
    if criteria.targets and not any(same_value(text, target, schema) for target in criteria.targets):
        return 3
    if criteria.answers and not _fits(value, notes, criteria.answers):
        return 3
    return 4


def _fits(value: Any, notes: tuple[str, ...], schema: CompiledSchema) -> bool:
    """Whether a value is valid; a lone surrogate is no Unicode text, so no schema can speak of it."""
    return "lone_surrogate" not in notes and schema.accepts(value)


def _verdict(
    criteria: _Criteria,
    passed: _Level,
    reason: str | None,
    finish_reason: FinishReason,
    notes: tuple[str, ...],
    offset: int | None,
) -> Verdict:
    return Verdict(
        parses=passed >= 1,
        root_type=None if criteria.root_type is None else passed >= 2,
        schema_valid=None if criteria.schema is None else passed >= 3,
        exact_match=passed >= 4 if criteria.names_answers else None,
        reason=reason,
        offset=offset,
        finish_reason=finish_reason,
        notes=notes,
    )


@functools.lru_cache(maxsize=4096)
def _criteria(
    schema: str | None, targets: tuple[str, ...], answer_schema: str | None, assert_formats: bool
) -> _Criteria:
    compiled = None if schema is None else compile_schema(schema, assert_formats)
    try:
        types = {_TYPE_NAMES[type(parse_json(target))] for target in targets}
    except JSONRejected as rejected:
        at = f"{rejected.reason} at character {rejected.offset}"
        raise DataError(f"target must be JSON, got {at}; fix it") from None
    # Accepted values of several types say nothing of the root that the schema does not.
    root_type = types.pop() if len(types) == 1 else compiled.root_type if compiled else None
    answers = None if answer_schema is None else compile_schema(answer_schema, assert_formats)
    return _Criteria(root_type=root_type, schema=compiled, targets=targets, answers=answers)


def _body(completion: str, fences: FencePolicy) -> tuple[str, int]:
    """The text to parse and its offset in the completion, which is 0 only when no fence came off."""
    fenced = _FENCED.fullmatch(completion) if fences == "unwrap" else None
    return (fenced["body"], fenced.start("body")) if fenced else (completion, 0)


def _is_a(value: Any, type_name: str) -> bool:
    """Whether a value is of a JSON Schema type; 1.0 is an integer there."""
    if type_name == "integer":
        return type(value) is int or (type(value) is float and value.is_integer())
    return _TYPE_NAMES[type(value)] == type_name
