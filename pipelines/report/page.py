"""The page of a run: everything computed from the run folder, nothing typed in, nothing fetched.

Reads a run folder; writes `report.html`, one self-contained file, and its figures as files. A stage that has not run
has a section that names the command to run, a damaged file one that names the file, and the other sections stay.
Model output is untrusted: the templates escape all of it, and the page's own policy runs nothing but its own script.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import shlex
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from pipelines.config import Config
from pipelines.errors import PipelineError
from pipelines.html import page_environment, policy_hash
from pipelines.report.attention import Explorer, Matrix, describe_attention, load_explorer
from pipelines.report.behaviour import describe_behaviour
from pipelines.report.labels import describe_labels, verify_samples
from pipelines.report.methods import describe_methods
from pipelines.report.provenance import describe_provenance
from pipelines.report.update import describe_update
from pipelines.run.files import write_text
from pipelines.run.folder import Run
from pipelines.run.stages import plan
from pipelines.tasks import Handout, handout_path, load_handout
from pipelines.text import clip

Context = dict[str, Any]
Described = tuple[str, str, str, Callable[[], Context]]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A part of the page: its heading, what it shows, and its answer in one line."""

    name: str
    eyebrow: str
    """What stands over the heading."""
    title: str
    answer: Markup | None
    body: Markup
    context: Context | None
    """What it was made of; None where that is damaged."""


def render_report(config: Config, run: Run) -> dict[str, Any]:
    """Write `report.html` and `figures/`; returns the page's size."""
    handout = load_handout(handout_path(config, run))
    sheet = verify_samples(handout)
    environment = _environment(run)
    described = _described(run, handout, sheet)
    sections = {one[0]: _section(environment, *one) for one in described}
    page = environment.get_template("report.html.j2").render(
        **_shell(_explorer(run)),
        run_name=clip(run.root.resolve().name, 80).text,
        handout=handout,
        closing_key=_closing_key(run, handout),
        sections=sections,
        matrix=_first_matrix(sections["attention"]),
        sheet=sheet,
    )
    write_text(run.report_file, page)
    return {"kilobytes": len(page.encode()) // 1000}


def _described(run: Run, handout: Handout, sheet: Context) -> list[Described]:
    """Every section's name, what stands over its heading, the heading, and what it shows."""
    asked = {"handout": handout}
    described: list[Described] = [
        ("attention", "Question 1", "Which attention weights does it compute, and which must be 0?",
         lambda: {**describe_attention(run), **asked}),
        ("labels", "Question 2a", "How do we get a label that one sample is better?",
         lambda: {**describe_labels(run), **sheet, **asked}),
        ("update", "Question 2b", "How does that label update the model?", lambda: describe_update(run)),
        ("methods", "Question 2b, other answers", "Which update did best on the same samples?",
         lambda: describe_methods(run)),
        ("behaviour", "What changed", "Test tasks, before and after",
         lambda: {**describe_behaviour(run, handout), **asked}),
        ("provenance", "Provenance", "What made this page", lambda: describe_provenance(run)),
    ]  # fmt: skip
    has_compared = (run.root / "comparison.json").exists()
    return [one for one in described if has_compared or one[0] != "methods"]


def _environment(run: Run) -> jinja2.Environment:
    environment = page_environment("pipelines.report")
    environment.filters.update(clip=clip)
    environment.globals.update(command=_commands(run), whole_run=_command(run, "run"))
    return environment


def _section(
    environment: jinja2.Environment, name: str, eyebrow: str, title: str, describe: Callable[[], Context]
) -> Section:
    """One part of the page; where an artefact is damaged, the part says which."""
    answer, context = None, None
    try:
        context = describe()
        body = Markup(environment.get_template(f"{name}.html.j2").render(context))  # noqa: S704 - escaped by its template
        with contextlib.suppress(jinja2.TemplateNotFound):
            answer = Markup(environment.get_template(f"{name}_answer.html.j2").render(context))  # noqa: S704 - likewise
    except PipelineError as error:
        body = Markup('<p class="damaged" role="alert">Damaged: {}</p>').format(clip(str(error)).text)
        answer, context = None, None
    return Section(name=name, eyebrow=eyebrow, title=title, answer=answer, body=body, context=context)


def _shell(explorer: Explorer | None) -> Context:
    """Style and script, and the policy that allows these alone (and the explorer's own in its frame)."""
    here = files("pipelines.report") / "templates"
    style, script = (here / "report.css").read_text("utf-8"), (here / "report.js").read_text("utf-8")
    styles, scripts = [policy_hash(style)], [policy_hash(script)]
    if explorer:
        styles.append(explorer.style_hash)
        scripts.append(explorer.script_hash)
    return {
        "style": Markup(style),  # noqa: S704 - our own file
        "script": Markup(script),  # noqa: S704 - our own file
        "styles": " ".join(f"'{one}'" for one in styles),
        "scripts": " ".join(f"'{one}'" for one in scripts),
        "has_explorer": explorer is not None,
    }


def _explorer(run: Run) -> Explorer | None:
    return load_explorer(run) if (run.attention / "before.json").exists() else None


def _first_matrix(attention: Section) -> Matrix | None:
    """The matrix that the worksheet's answers show: the first head before training."""
    context = attention.context or {}
    first = context["first"][0] if context.get("maps") else None
    return first if isinstance(first, Matrix) else None


def _closing_key(run: Run, handout: Handout) -> str:
    """What the answers are kept under: pages of other runs, or with other questions, have another."""
    named = json.dumps([str(run.root.resolve()), *handout.closing_questions])
    return hashlib.sha256(named.encode()).hexdigest()[:16]


def _commands(run: Run) -> dict[str, str]:
    """What to type to run a stage of this run, or to compare labelers."""
    named = {stage.name: _command(run, stage.verb, *stage.arguments) for stage in plan(run)}
    label = _command(run, "label", "--labeler", "verifier")
    return {**named, "label": label, "agreement": _command(run, "label", "--agreement")}


def _command(run: Run, verb: str, *arguments: str) -> str:
    options = ["--config", str(run.config_file), "--run", str(run.root), *arguments]
    return shlex.join(["attend-and-prefer", verb, *options])
