"""Gather a class's answers to the closing questions into one page to read and print, and one file of rows.

    python scripts/collect_reflections.py answers/*.json --output class

Reads the files that the form of the report page exports; writes reflections.html and reflections.jsonl into --output.
A file that cannot be read, or that was there before, is named in a line of its own; the others are gathered all the
same. A writer's name is stored only where the writer gave one; the file's name always is, so name none after a person.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pipelines.run.stage_command import guarded


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILES", help="JSON files that the form exported")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="the folder to write into")
    arguments = parser.parse_args(argv)

    def body() -> int:
        from pipelines.reflections import gather, write_reflections

        gathered = gather(arguments.files)
        for notice in gathered.notices:
            print(notice, file=sys.stderr)
        facts = {
            **write_reflections(gathered, arguments.output),
            "counted_once": gathered.repeated,
            "not_read": gathered.unread,
        }
        shown = ", ".join(f"{name} {value}" for name, value in facts.items())
        print(
            f"reflections: {shown} → {arguments.output / 'reflections.html'}, {arguments.output / 'reflections.jsonl'}"
        )
        return 0

    return guarded(body)


if __name__ == "__main__":
    sys.exit(main())
