"""A judge behind an OpenAI-compatible server: the same question, the letters' log-probabilities from its reply.

Takes the server's address and a model's name; leaves decisions, like the local judge. The key, if one is needed, comes
from the environment variable `JUDGE_API_KEY` and goes nowhere but into the request. A server that does not answer is
tried a few times; one that gives no log-probabilities is an error, never a label.
"""

from __future__ import annotations

import dataclasses
import math
import re
import time
from collections.abc import Iterator, Sequence
from typing import Any

from huggingface_hub import constants

from pipelines.errors import ModelError
from pipelines.models.endpoint import Endpoint
from pipelines.preferences.labelers.comparisons import Comparison
from pipelines.preferences.labelers.judge import ANSWERS, Reading, Thresholds, compose, weigh
from pipelines.preferences.labelers.labels import Decision
from pipelines.records import Message

KEY_VARIABLE = "JUDGE_API_KEY"
_TOP_LOGPROBS = 20
"""The most that OpenAI's API allows, and vLLM by default."""
_SPECIAL = re.compile(r"<(?=[|｜/A-Za-z])[^<>]{1,40}>|\[/?[A-Z_]{2,20}\]")
"""What chat templates in use read as their own: <|im_end|>, </s>, <start_of_turn>, <｜User｜>, [INST], …"""


class ServerJudge:
    """A model on a server. Two requests per comparison, one for each order."""

    def __init__(
        self,
        url: str,
        model: str,
        *,
        name: str = "judge",
        thresholds: Thresholds | None = None,
        wait_seconds: float = 1.0,
    ) -> None:
        """`url` is the API's base, e.g. http://localhost:8000/v1; the wait doubles with every further attempt."""
        self.name = name
        self.thresholds = thresholds or Thresholds()
        self._endpoint = Endpoint(
            url=url, model=model, setting="--server", key_variable=KEY_VARIABLE, wait_seconds=wait_seconds
        )
        self.by: dict[str, Any] = {
            "model": model,
            "server": self._endpoint.address,
            **dataclasses.asdict(self.thresholds),
        }

    def decide(self, comparisons: Sequence[Comparison]) -> Iterator[Decision]:
        """One decision per comparison, in order. ModelError when the server cannot be used."""
        for comparison in comparisons:
            started = time.perf_counter()
            replies = [self._ask(messages) for messages in compose(comparison, _SPECIAL)]
            first_as_a, second_as_a = map(self._reading, replies)
            label, detail = weigh(first_as_a, second_as_a, self.thresholds)
            seconds = time.perf_counter() - started
            tokens = _tokens(replies)
            yield Decision(comparison=comparison, label=label, seconds=seconds, tokens=tokens, detail=detail)

    def _ask(self, messages: list[Message]) -> dict[str, Any]:
        """The server's reply. At temperature 1 a server that scales its log-probabilities leaves them as they are."""
        if constants.HF_HUB_OFFLINE:
            raise ModelError("HF_HUB_OFFLINE forbids a judge any request; unset it to use --server")
        return self._endpoint.complete_chat(
            {
                "messages": messages,
                "max_tokens": 1,
                "temperature": 1.0,
                "logprobs": True,
                "top_logprobs": _TOP_LOGPROBS,
            }
        )

    def _reading(self, reply: dict[str, Any]) -> Reading:
        """Probabilities of the letters among the likeliest tokens; a letter that is not among them counts as 0."""
        try:
            likeliest = reply["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
            found = [(str(entry["token"]).strip(), math.exp(min(0.0, float(entry["logprob"])))) for entry in likeliest]
        except (KeyError, IndexError, TypeError, ValueError):
            found = []
        if not found:
            raise ModelError(
                f"{self._endpoint.address}: the server gives no log-probabilities (`top_logprobs`); "
                "use one that does, e.g. vLLM or llama.cpp's llama-server"
            )
        a, b = (math.fsum(probability for token, probability in found if token == answer) for answer in ANSWERS)
        return Reading(a=a, b=b)


def _tokens(replies: Sequence[dict[str, Any]]) -> int | None:
    """Tokens read and written for all replies; None when the server does not count them."""
    try:
        return sum(int(reply["usage"]["total_tokens"]) for reply in replies)
    except (KeyError, TypeError, ValueError):
        return None
