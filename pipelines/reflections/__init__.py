"""A class's answers to the closing questions, gathered into one page and one file of rows.

    gather(files)                          every response that can be read, and a line for each file that cannot
    write_reflections(gathered, folder)    `reflections.html` and `reflections.jsonl`

Asks nobody anything and judges no answer.
"""

from pipelines.reflections.gathering import Gathered, gather, write_reflections
from pipelines.reflections.responses import FORMAT, Answer, Response, read_response

__all__ = ["FORMAT", "Answer", "Gathered", "Response", "gather", "read_response", "write_reflections"]
