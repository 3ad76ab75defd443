"""The page of a class's answers: question by question, to read on a screen of any size and to print.

Takes questions with their replies; leaves one self-contained HTML file that fetches nothing and runs nothing. What
people wrote is untrusted: the template escapes it, the policy in the page forbids everything but its own style, and a
long answer is cut with a note of how long it was.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence
from importlib.resources import files

import jinja2
from markupsafe import Markup

from pipelines.pages import policy_hash
from pipelines.readable import Excerpt
from pipelines.reflections.responses import Response
from pipelines.reflections.visible import excerpt, one_line

_ANSWER_CHARACTERS = 1500
_ANSWER_LINES = 40
_QUESTION_CHARACTERS = 300
_NAME_CHARACTERS = 80
_NAMED_AT_MOST = 3
"""How many runs or handouts the head of the page names before it counts the others."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """One answer, and its writer's name where given."""

    text: str
    name: str | None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """One question with what was answered."""

    text: str
    replies: tuple[Reply, ...]
    answered: int
    """How many responses have an answer; fewer than the replies where a form asks the same thing twice."""


def render_reflections(
    questions: Sequence[Question], responses: Sequence[Response], *, unread: int, repeated: int
) -> str:
    """The page as HTML; `unread` and `repeated` are files that are not in it, which it says."""
    style = (files("pipelines.reflections") / "templates" / "reflections.css").read_text("utf-8")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pipelines.reflections"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        answer=_answer,
        question=lambda text: one_line(text, _QUESTION_CHARACTERS),
        name=lambda text: one_line(text, _NAME_CHARACTERS),
        counted=_counted,
    )
    return environment.get_template("reflections.html.j2").render(
        style=Markup(style),  # noqa: S704 - our own file
        style_hash=policy_hash(style),
        questions=questions,
        responses=len(responses),
        named=sum(response.name is not None for response in responses),
        runs=_listed([response.run for response in responses]),
        handouts=_listed([response.handout for response in responses if response.handout]),
        written=_period([response.written.date() for response in responses]),
        unread=unread,
        repeated=repeated,
    )


def _answer(text: str) -> Excerpt:
    return excerpt(text, characters=_ANSWER_CHARACTERS, lines=_ANSWER_LINES)


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _listed(names: Sequence[str]) -> str:
    """Each name once, in order; the first few in full."""
    distinct = [one_line(name, _NAME_CHARACTERS) for name in dict.fromkeys(names)]
    others = len(distinct) - _NAMED_AT_MOST
    shown = ", ".join(distinct[:_NAMED_AT_MOST])
    return f"{shown} and {others:,} more" if others > 0 else shown


def _period(days: Sequence[datetime.date]) -> str:
    """The days from first to last, in words, nothing said twice."""
    first, last = min(days), max(days)
    end = f"{last.day} {last:%B} {last.year}"
    if first == last:
        return f"on {end}"
    start = f"{first.day}"
    if (first.year, first.month) != (last.year, last.month):
        start += f" {first:%B}"
    if first.year != last.year:
        start += f" {first.year}"
    return f"from {start} to {end}"
