"""One model behind an OpenAI-compatible server, asked with the `openai` client.

Reads the server's address and the environment variable that may hold a key; returns replies as the server sent them,
JSON with a choice in it. Retries, backoff, timeouts, connections and proxies are the client's. Ours are the key, which
goes into the request and nowhere else, and errors of one line without it. What a reply means is the caller's business.
"""

from __future__ import annotations

import json
import os
import weakref
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import openai

from pipelines.errors import ConfigError, ModelError
from pipelines.text import escape, shortened

_LARGEST_REPLY_BYTES = 256 * 2**20
"""Log-probabilities of a long completion take megabytes; a reply without an end must not take all memory."""


class RefusalError(ModelError):
    """The server answered, with a status that says no; `body` is all it said."""

    def __init__(self, message: str, status: int, body: str) -> None:
        super().__init__(message)
        self.status, self.body = status, body


class Endpoint:
    """Where a model is served. Safe to use from many threads."""

    def __init__(self, url: str, *, setting: str, key_variable: str, timeout_seconds: float, retries: int) -> None:
        """`url` ends before `/v1`, with it or with the whole path; `setting` is what the user calls it."""
        self.url, host = _check_url(url, setting, key_variable)
        self._setting, self._key_variable, self._timeout_seconds = setting, key_variable, timeout_seconds
        self._key = os.environ.get(key_variable, "").strip()
        if not (self._key.isascii() and self._key.isprintable()):
            raise ConfigError(f"{key_variable} must be printable ASCII, as a header has to be; set it again")
        # Said with each request, because the client would send what OPENAI_API_KEY and its like hold for somebody else.
        names = ("Authorization", "OpenAI-Organization", "OpenAI-Project")
        self._headers: dict[str, str | openai.Omit] = dict.fromkeys(names, openai.Omit())
        if self._key:
            self._headers["Authorization"] = f"Bearer {self._key}"
        try:
            http = openai.DefaultHttpxClient(
                follow_redirects=False,  # another host is not to be handed the prompts
                trust_env=host not in ("localhost", "127.0.0.1", "::1"),  # which may name a proxy
                event_hooks={"response": [_bound]},
            )
        except (ValueError, ImportError) as error:
            # Not the error's own words: they may show the proxy's password.
            kind = type(error).__name__
            raise ConfigError(f"the environment's proxy cannot be used ({kind}); fix it, or set no_proxy") from None
        timeout = openai.Timeout(timeout_seconds, connect=min(30.0, timeout_seconds), pool=None)
        self._client = openai.OpenAI(
            base_url=self.url, api_key="unused", max_retries=retries, timeout=timeout, http_client=http
        )
        weakref.finalize(self, http.close).atexit = False  # connections end with the endpoint; at exit with the process

    def complete_chat(self, request: dict[str, Any]) -> dict[str, Any]:
        """The reply to a chat completion request: `model`, `messages` and whatever else a server understands.

        RefusalError when the server says no, ModelError when it says nothing, or nothing that could be a reply.
        """
        said = ""
        try:
            said = self._client.chat.completions.with_raw_response.create(
                model=request["model"], messages=request["messages"], extra_body=request, extra_headers=self._headers
            ).http_response.text
            reply = json.loads(said)
            if isinstance(reply["choices"][0], dict):
                return dict(reply)
        except openai.APIStatusError as error:
            raise self._refusal(error.status_code, error.response.text) from None
        except openai.OpenAIError as error:
            raise self._no_reply(error) from None
        except UnicodeEncodeError:
            raise ModelError("a prompt holds half a surrogate pair, which no request can; fix the task") from None
        except (ValueError, KeyError, IndexError, TypeError, RecursionError):
            pass  # said in the next line
        raise ModelError(f"{self.url}: no chat completion came back ({self._clean(said)}); is this the API's base?")

    def _refusal(self, status: int, body: str) -> RefusalError:
        remedy = "fix the address, the model's name or the server"
        if status in (401, 403):
            remedy = f"set {self._key_variable}"
        elif status in (400, 413, 422):
            remedy = "fix the setting that it minds"
        return RefusalError(f"{self.url}: the server answered {status} ({self._clean(body)}); {remedy}", status, body)

    def _no_reply(self, error: openai.OpenAIError) -> ModelError:
        attempts = self._client.max_retries + 1
        if isinstance(error, openai.APITimeoutError):
            what = f"no reply in {self._timeout_seconds:g} s, {attempts} times; see what keeps it, or allow more time"
        elif isinstance(error, openai.APIConnectionError):
            reason = self._clean(str(error.__cause__))
            what = f"cannot be reached in {attempts} attempts ({reason}); start the server or fix {self._setting}"
        else:
            what = f"{self._clean(str(error))}; is this the API's base?"
        return ModelError(f"{self.url}: {what}; what is done so far is kept")

    def _clean(self, text: str) -> str:
        """The start of what the server said, in one line without the key."""
        # Replaced before anything is cut: half a key is a secret too.
        whole = text.replace(self._key, "…") if self._key else text
        return shortened(escape(" ".join(whole[:1000].split())), 200)


def _check_url(url: str, setting: str, key_variable: str) -> tuple[str, str]:
    """The API's base, and the host. Nothing in it is secret, so every message may show it."""
    if set(url) & set("@?#"):
        raise ConfigError(f"{setting} must not hold a user, password or query; put a key into {key_variable}")
    try:
        parts = urlsplit(url)
        clean = url.isprintable() and " " not in url
        usable = clean and parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError(f"{setting} must be an http(s) address, got {url!r}; e.g. http://localhost:8000/v1")
    base = url.rstrip("/")
    if base.endswith("/chat/completions"):
        return base.removesuffix("/chat/completions"), str(parts.hostname)
    return base if base.endswith("/v1") else f"{base}/v1", str(parts.hostname)


def _bound(response: Any) -> None:
    """The client's hook on every reply: bounds what is read of it."""
    read_all = response.iter_bytes

    def read_some(chunk_size: int | None = None) -> Iterator[bytes]:
        total = 0
        for chunk in read_all(chunk_size):
            total += len(chunk)
            if total > _LARGEST_REPLY_BYTES:
                raise openai.OpenAIError("the reply is longer than any completion")
            yield chunk

    response.iter_bytes = read_some
