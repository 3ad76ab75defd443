"""The verdict on a completion, tier by tier: parses, root type, schema, exact value.

Takes a completion's text and its task; leaves a `Verdict` and, whatever the completion, raises nothing. A task whose
own schema or target is broken raises `DataError`; `check_task` finds that out beforehand. A tier that the task does not
define is None; once a tier fails, the defined ones after it are False. Never looks for JSON inside prose.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from typing import Any, Final, Literal

from pipelines.errors import DataError
from pipelines.records import FencePolicy, FinishReason, Task, Verdict
from pipelines.rewards.equality import Written, same_value
from pipelines.rewards.parsing import notes_on, parse_json, without_collector
from pipelines.rewards.rejection import JSONRejected
from pipelines.rewards.schemas import CompiledSchema, compile_schema

TIER_REASONS: Final = ("truncated", "wrong_root_type", "schema_violation", "wrong_value")
"""Why a completion that is JSON failed; one that is not has its reason from `rejection.REASONS`."""

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
    number_places: Any
    """The schema's document when it declares a number anywhere; else None."""
    targets: tuple[Written, ...]
    """The accepted values; empty when the task defines none."""


def verify(
    completion: str, task: Task, finish_reason: FinishReason = "stop", *, assert_formats: bool = False
) -> Verdict:
    """The verdict on a completion of a task; one cut off at the token limit passes no tier."""
    criteria = _criteria(task.schema, task.targets, assert_formats)
    with without_collector(completion):
        body, begin = _body(completion, task.fences)
        notes: tuple[str, ...] = ("unwrapped_fence",) if begin else ()
        try:
            value = parse_json(body)
        except JSONRejected as rejected:
            return _verdict(criteria, 0, rejected.reason, finish_reason, notes, begin + rejected.offset)
        notes += notes_on(body)
        if finish_reason == "length":
            return _verdict(criteria, 0, "truncated", finish_reason, notes, len(completion))
        passed = _tiers_passed(Written(value, body), notes, criteria)
        return _verdict(criteria, passed, (*TIER_REASONS, None)[passed], finish_reason, notes, None)


def check_task(schema: str | None, target: str | None) -> None:
    """Raises DataError, in one line without file and line number, when no completion could meet schema and target."""
    criteria = _criteria(schema, () if target is None else (target,), False)
    for accepted in criteria.targets if criteria.schema else ():
        text = accepted.text
        if "lone_surrogate" in notes_on(text) or not criteria.schema.accepts(accepted.value, text):
            raise DataError(f"target must be valid under the schema, got {text[:80]!r}; mend one of them")


def _tiers_passed(answer: Written, notes: tuple[str, ...], criteria: _Criteria) -> _Level:
    """How many tiers hold, from the first on; one that the task does not define holds."""
    if criteria.root_type is not None and not _is_a(answer.value, criteria.root_type):
        return 1
    # A lone surrogate is no Unicode text, so no schema can speak of it.
    if criteria.schema and ("lone_surrogate" in notes or not criteria.schema.accepts(answer.value, answer.text)):
        return 2
    if criteria.targets and not any(same_value(answer, one, criteria.number_places) for one in criteria.targets):
        return 3
    return 4


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
        exact_match=passed >= 4 if criteria.targets else None,
        reason=reason,
        offset=offset,
        finish_reason=finish_reason,
        notes=notes,
    )


@functools.lru_cache(maxsize=4096)
def _criteria(schema: str | None, targets: tuple[str, ...], assert_formats: bool) -> _Criteria:
    compiled = None if schema is None else compile_schema(schema, assert_formats)
    try:
        written = tuple(Written(parse_json(target), target) for target in targets)
    except JSONRejected as rejected:
        raise DataError(f"target must be JSON, got {rejected.reason} at character {rejected.offset}; mend it") from None
    root_type = compiled.root_type if compiled else None
    return _Criteria(
        root_type=_common_type(written) or root_type,
        schema=compiled,
        number_places=compiled.document if compiled and schema and "number" in schema else None,
        targets=written,
    )


def _common_type(values: tuple[Written, ...]) -> str | None:
    """The root type of all values; None where they differ or there are none."""
    names = {_TYPE_NAMES[type(one.value)] for one in values}
    return names.pop() if len(names) == 1 else None


def _body(completion: str, fences: FencePolicy) -> tuple[str, int]:
    """The text to parse and its offset in the completion, which is 0 only when no fence came off."""
    fenced = _FENCED.fullmatch(completion) if fences == "unwrap" else None
    return (fenced["body"], fenced.start("body")) if fenced else (completion, 0)


def _is_a(value: Any, type_name: str) -> bool:
    """Whether a value is of a JSON Schema type; 1.0 is an integer there."""
    if type_name == "integer":
        return type(value) is int or (type(value) is float and value.is_integer())
    return _TYPE_NAMES[type(value)] == type_name
