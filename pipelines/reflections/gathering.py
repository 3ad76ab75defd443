"""Many responses into one collection: each counted once, the bad files named, the answers sorted by question.

Takes the files of a class; leaves `reflections.html`, a page to read and print, and `reflections.jsonl`, one row per
answer. A file that cannot be read costs one line and nothing else. No name of a writer is stored but the one given in
the form, and of a path only the file's own name: a class that wants to be anonymous names no file after a person.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.errors import DataError, RunError
from pipelines.reflections.page import Question, Reply, render_reflections
from pipelines.reflections.responses import Response, read_response, without_surrogates
from pipelines.reflections.visible import one_line
from pipelines.run.files import write_text


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Gathered:
    """What a class's files hold."""

    responses: dict[str, Response]
    """By path, in the order given, each export once."""
    notices: tuple[str, ...]
    """One line for each file that was left out, in the order given: what, where, what to do."""
    unread: int
    """How many files could not be read."""
    repeated: int
    """How many files were given before, or hold an export that another one holds."""

    def questions(self) -> list[str]:
        """Every question, in the order of the form that most responses share; others follow as they come."""
        asked = [tuple(answer.question for answer in response.answers) for response in self.responses.values()]
        ((usual, _),) = collections.Counter(asked).most_common(1)
        return list(dict.fromkeys([*usual, *(question for form in asked for question in form)]))

    def rows(self) -> list[dict[str, Any]]:
        """One per answer, question by question, those with a name first.

        A loader guesses a column's type from the file's first megabytes: a name after many nulls would come too late.
        """
        rows = [
            {
                "question": answer.question,
                "answer": answer.text,
                "name": response.name,
                "run": response.run,
                "written": response.written.date().isoformat(),
                "source": without_surrogates(Path(path).name),
            }
            for path, response in self.responses.items()
            for answer in response.answers
            if answer.text
        ]
        place = {question: index for index, question in enumerate(self.questions())}
        return sorted(rows, key=lambda row: (row["name"] is None, place[row["question"]]))


def gather(files: Sequence[Path]) -> Gathered:
    """Read every file; a bad one, or one that was there before, becomes a notice."""
    responses: dict[str, Response] = {}
    sources: dict[Response, str] = {}
    seen: set[str] = set()
    notices = []
    unread = repeated = 0
    for file in files:
        path, place = str(file), os.path.realpath(file)
        if place in seen:
            notices.append(f"{one_line(path)}: given twice; counted once")
            repeated += 1
            continue
        seen.add(place)
        try:
            response = read_response(file)
        except DataError as error:
            notices.append(str(error))
            unread += 1
            continue
        if response in sources:
            notices.append(f"{one_line(path)}: the same export as {one_line(sources[response])}; counted once")
            repeated += 1
            continue
        responses[path] = response
        sources[response] = path
    return Gathered(responses=responses, notices=tuple(notices), unread=unread, repeated=repeated)


def write_reflections(gathered: Gathered, folder: Path) -> dict[str, int]:
    """Write the page and the rows; returns what is in them, counted. DataError when there is nothing to write."""
    if not gathered.responses:
        raise DataError(
            f"none of {gathered.unread} files could be read, so nothing was written; name files that the form of a "
            "report page exported"
        )
    rows = gathered.rows()
    questions = _by_question(gathered)
    page = render_reflections(
        questions, list(gathered.responses.values()), unread=gathered.unread, repeated=gathered.repeated
    )
    try:
        write_text(folder / "reflections.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        write_text(folder / "reflections.html", page)
    except OSError as error:
        raise RunError(
            f"{one_line(str(folder))}: cannot be written ({error.strerror}); name another folder with --output"
        ) from error
    return {"responses": len(gathered.responses), "questions": len(questions), "answers": len(rows)}


def _by_question(gathered: Gathered) -> list[Question]:
    replies: dict[str, list[Reply]] = {question: [] for question in gathered.questions()}
    answered: collections.Counter[str] = collections.Counter()
    for response in gathered.responses.values():
        given = [answer for answer in response.answers if answer.text]
        answered.update({answer.question for answer in given})
        for answer in given:
            replies[answer.question].append(Reply(text=answer.text, name=response.name))
    return [
        Question(text=question, replies=tuple(texts), answered=answered[question])
        for question, texts in replies.items()
    ]
