"""A judge behind an OpenAI-compatible server: the same question, the letters' log-probabilities from its reply.

Takes the server's address and a model's name; leaves decisions, like the local judge. The key, if one is needed, comes
from the environment variable `JUDGE_API_KEY` and goes nowhere but into the request. A server that does not answer is
tried a few times; one that gives no log-probabilities is an error, never a label.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
import time
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from pipelines.errors import ConfigError, ModelError
from pipelines.preferences.labelers.comparisons import Comparison
from pipelines.preferences.labelers.judge import ANSWERS, Reading, Thresholds, compose, weigh
from pipelines.preferences.labelers.labels import Decision
from pipelines.preferences.publishing import TRANSPORT_ERROR
from pipelines.records import Message

KEY_VARIABLE = "JUDGE_API_KEY"
_ATTEMPTS = 4
_TIMEOUT_SECONDS = 120.0
_TOP_LOGPROBS = 20
"""The most that OpenAI's API allows, and vLLM by default."""
_BUSY = (408, 409, 425, 429, 500, 502, 503, 504)
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
        self._shown_url = _without_secrets(url)
        self.by: dict[str, Any] = {"model": model, "server": self._shown_url, **dataclasses.asdict(self.thresholds)}
        self._key = os.environ.get(KEY_VARIABLE, "")
        self._model, self._wait_seconds = model, wait_seconds
        # Never None: InferenceClient would then send the user's Hugging Face token to whatever server this is.
        self._client = InferenceClient(base_url=url, api_key=self._key or "none", timeout=_TIMEOUT_SECONDS)

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

    def _ask(self, messages: list[Message]) -> Any:
        """The server's reply. At temperature 1 a server that scales its log-probabilities leaves them as they are."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self._client.chat_completion(
                    messages,
                    model=self._model,
                    max_tokens=1,
                    temperature=1.0,
                    logprobs=True,
                    top_logprobs=_TOP_LOGPROBS,
                )
            except OfflineModeIsEnabled:
                raise ModelError(
                    "HF_HUB_OFFLINE forbids huggingface_hub any request; unset it to use --server"
                ) from None
            except HfHubHTTPError as error:
                status = error.response.status_code
                if status not in _BUSY or attempt == _ATTEMPTS:
                    raise self._refused(status, error.response.text) from None
            except TRANSPORT_ERROR as error:
                if attempt == _ATTEMPTS:
                    raise self._unreachable(error) from None
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise ModelError(f"{self._shown_url}: no chat completion came back; is this the API's base?") from error
            time.sleep(self._wait_seconds * 2 ** (attempt - 1))
        raise AssertionError("the last attempt returns or raises")

    def _refused(self, status: int, body: str) -> ModelError:
        said = self._without_key(" ".join(body.split())[:200])
        remedy = f"set {KEY_VARIABLE}" if status in (401, 403) else "mend the address, the model's name or the server"
        return ModelError(f"{self._shown_url}: the server answered {status} ({said}); {remedy}")

    def _unreachable(self, error: Exception) -> ModelError:
        reason = self._without_key(str(error)) or type(error).__name__
        return ModelError(
            f"{self._shown_url}: cannot be reached in {_ATTEMPTS} attempts ({reason}); "
            "start the server or mend --server; labels so far are kept"
        )

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "…") if self._key else text

    def _reading(self, reply: Any) -> Reading:
        """Probabilities of the letters among the likeliest tokens; a letter that is not among them counts as 0."""
        try:
            likeliest = reply.choices[0].logprobs.content[0].top_logprobs
            found = [(str(entry.token).strip(), math.exp(min(0.0, float(entry.logprob)))) for entry in likeliest]
        except (AttributeError, IndexError, TypeError, ValueError):
            found = []
        if not found:
            raise ModelError(
                f"{self._shown_url}: the server gives no log-probabilities (`top_logprobs`); "
                "use one that does, e.g. vLLM or llama.cpp's llama-server"
            )
        a, b = (math.fsum(probability for token, probability in found if token == answer) for answer in ANSWERS)
        return Reading(a=a, b=b)


def _tokens(replies: Sequence[Any]) -> int | None:
    """Tokens read and written for all replies; None when the server does not count them."""
    try:
        return sum(int(reply.usage.total_tokens) for reply in replies)
    except (AttributeError, TypeError):
        return None


def _without_secrets(url: str) -> str:
    """The address without user, password and query, for labels and messages."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"--server must be an http(s) address, got {url!r}; e.g. http://localhost:8000/v1")
    if parts.username or parts.password:
        raise ConfigError(f"--server must not hold a user or password; put a key into {KEY_VARIABLE}")
    return urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))
