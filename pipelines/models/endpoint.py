"""One model behind an OpenAI-compatible server: chat completions asked for with patience, errors in one clean line.

Takes the server's address, the model's name there and the environment variable that may hold a key; leaves replies as
the server sent them: JSON objects with a choice in them, nothing else checked. The key goes into the request and
nowhere else. What is asked for, and what a reply means, are the caller's business.
"""

from __future__ import annotations

import dataclasses
import json
import os
import random
import threading
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

import urllib3

from pipelines.errors import ConfigError, ModelError

_BUSY = (408, 409, 425, 429, 500, 502, 503, 504)
_LARGEST_REPLY_BYTES = 256 * 2**20
"""Log-probabilities of a long completion take megabytes; a reply without an end must not take all memory."""
_CONNECT_SECONDS = 30.0


class RefusalError(ModelError):
    """The server answered, with a status that says no; `body` is all it said."""

    def __init__(self, message: str, status: int, body: str) -> None:
        super().__init__(message)
        self.status, self.body = status, body


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """Where a model is served, and how long it is waited for. Safe to use from many threads."""

    url: str = dataclasses.field(repr=False)
    """The API's base, e.g. http://localhost:8000/v1."""
    model: str
    """Its name on that server."""
    setting: str
    """What the user calls `url`, for messages."""
    key_variable: str
    """Environment variable that holds the key, if one is needed."""
    attempts: int = 4
    """For one request, the first included."""
    timeout_seconds: float = 120.0
    """Without a byte from the server; then it counts as an attempt."""
    wait_seconds: float = 1.0
    """Before the second attempt; it doubles with every further one."""
    longest_wait_seconds: float = 60.0
    """Between two attempts, whatever the server asks for."""
    connections: int = 1
    """Kept open for the next request, at most."""
    address: str = dataclasses.field(init=False)
    """`url` without its query, for labels and messages."""
    _key: str = dataclasses.field(init=False, repr=False)
    _target: str = dataclasses.field(init=False, repr=False)
    _pool: urllib3.PoolManager = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        parts = self._checked_url()
        key = os.environ.get(self.key_variable, "").strip()
        if not (key.isascii() and key.isprintable()):
            raise ConfigError(f"{self.key_variable} must be printable ASCII, as a header has to be; set it again")
        found = {
            "address": urlunsplit((parts.scheme, parts.netloc, parts.path, "", "")),
            "_key": key,
            "_target": urlunsplit((parts.scheme, parts.netloc, _chat_path(parts.path), parts.query, "")),
            "_pool": _open_pool(parts, self.connections),
        }
        for name, value in found.items():
            object.__setattr__(self, name, value)  # how a frozen dataclass fills its derived fields

    def complete_chat(self, request: dict[str, Any], stopping: threading.Event | None = None) -> dict[str, Any]:
        """The reply to a chat completion request (`messages` and whatever else; the model's name is added).

        RefusalError when the server says no, ModelError when it says nothing, or nothing that could be a reply.
        Once `stopping` is set there is no further attempt.
        """
        body = json.dumps({"model": self.model, **request}).encode("ascii")
        stopping = stopping or threading.Event()
        for attempt in range(1, self.attempts + 1):
            asked_to_wait = None
            try:
                status, headers, content = self._post(body)
            except urllib3.exceptions.HTTPError as error:
                if attempt == self.attempts:
                    raise self._unreachable(error) from None
            else:
                if 200 <= status < 300:
                    return self._parsed(content)
                if status not in _BUSY or attempt == self.attempts:
                    raise self._refused(status, content)
                asked_to_wait = _retry_after_seconds(headers.get("Retry-After"))
            if stopping.wait(self._patience_seconds(attempt, asked_to_wait)):
                raise ModelError(f"{self.address}: stopped before the server had answered; start again")
        raise AssertionError("the last attempt returns or raises")

    def _post(self, body: bytes) -> tuple[int, urllib3.HTTPHeaderDict, bytes]:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        connect_seconds = min(_CONNECT_SECONDS, self.timeout_seconds)
        response = self._pool.request(
            "POST",
            self._target,
            body=body,
            headers=headers,
            timeout=urllib3.Timeout(connect=connect_seconds, read=self.timeout_seconds),
            retries=False,  # the loop above is the one that tries again
            redirect=False,  # another host is not to be handed the key or the prompts
            preload_content=False,
        )
        try:
            content = response.read(_LARGEST_REPLY_BYTES + 1)
        finally:
            response.close()  # of a reply read to its end, the connection is back in the pool by now
        if len(content) > _LARGEST_REPLY_BYTES:
            raise ModelError(f"{self.address}: the reply is longer than any completion; is this the API's base?")
        return response.status, response.headers, content

    def _parsed(self, content: bytes) -> dict[str, Any]:
        try:
            reply = json.loads(content)
            if isinstance(reply, dict) and isinstance(reply["choices"][0], dict):
                return reply
        except (ValueError, KeyError, IndexError, TypeError, RecursionError):
            pass
        raise ModelError(
            f"{self.address}: no chat completion came back ({self._clean(content)}); is this the API's base?"
        )

    def _refused(self, status: int, content: bytes) -> RefusalError:
        if status in (401, 403):
            remedy = f"set {self.key_variable}"
        elif status in (400, 413, 422):
            remedy = "mend the setting that it minds"
        else:
            remedy = "mend the address, the model's name or the server"
        message = f"{self.address}: the server answered {status} ({self._clean(content)}); {remedy}"
        return RefusalError(message, status, content.decode("utf-8", errors="replace"))

    def _unreachable(self, error: Exception) -> ModelError:
        if isinstance(error, urllib3.exceptions.ReadTimeoutError):
            return ModelError(
                f"{self.address}: no reply in {self.timeout_seconds:g} s, {self.attempts} times; "
                "see what keeps the server, or allow more time; what is done so far is kept"
            )
        reason = self._clean(str(error).encode()) or type(error).__name__
        return ModelError(
            f"{self.address}: cannot be reached in {self.attempts} attempts ({reason}); "
            f"start the server or mend {self.setting}; what is done so far is kept"
        )

    def _clean(self, content: bytes) -> str:
        """The start of what the server said, in one line, without the key and without a terminal's control codes."""
        text = content.decode("utf-8", errors="replace")
        # Before anything is cut: half a key is a secret too.
        for secret in (self._key, urlsplit(self.url).query):
            text = text.replace(secret, "…") if secret else text
        line = " ".join(text.split())[:200]
        return "".join(character if character.isprintable() else "�" for character in line)

    def _patience_seconds(self, attempt: int, asked: float | None) -> float:
        """How long to wait after an attempt. Random, so that requests turned away together do not return together."""
        if asked is not None:
            return min(asked, self.longest_wait_seconds) * random.uniform(1.0, 1.25)  # noqa: S311 - no secret
        wait = min(self.wait_seconds * 2.0 ** (attempt - 1), self.longest_wait_seconds)
        return wait * random.uniform(0.5, 1.0)  # noqa: S311 - no secret

    def _checked_url(self) -> SplitResult:
        # First of all, because every other message shows the address.
        if "@" in self.url.partition("?")[0]:
            raise ConfigError(f"{self.setting} must not hold a user or password; put a key into {self.key_variable}")
        try:
            parts = urlsplit(self.url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            shown = self.url.partition("?")[0]
            raise ConfigError(
                f"{self.setting} must be an http(s) address, got {shown!r}; e.g. http://localhost:8000/v1"
            )
        return parts


def _chat_path(base: str) -> str:
    """The path of chat completions, whether the base ends before `/v1`, with it, or with the whole path."""
    base = base.rstrip("/")
    if base.endswith("/chat/completions"):
        return base
    return f"{base}/chat/completions" if base.endswith("/v1") else f"{base}/v1/chat/completions"


def _open_pool(parts: SplitResult, connections: int) -> urllib3.PoolManager:
    """Connections to the server, through the environment's proxy where it names one; never to this very machine."""
    host = parts.hostname or ""
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or host in ("localhost", "127.0.0.1", "::1") or proxy_bypass(parts.netloc):
        return urllib3.PoolManager(maxsize=connections)
    login = urlsplit(proxy).netloc.rpartition("@")[0]
    headers = urllib3.make_headers(proxy_basic_auth=unquote(login)) if login else None
    try:
        return urllib3.ProxyManager(proxy, maxsize=connections, proxy_headers=headers)
    except urllib3.exceptions.HTTPError as error:
        raise ConfigError(
            f"the proxy that the environment names for {host} cannot be used ({type(error).__name__}); "
            "mend it, or add the host to no_proxy"
        ) from None


def _retry_after_seconds(header: str | None) -> float | None:
    """What `Retry-After` asks for, in seconds or as a date; None when it is missing or makes no sense."""
    if header is None:
        return None
    try:
        return float(urllib3.Retry().parse_retry_after(header))
    except (urllib3.exceptions.InvalidHeader, ValueError, OverflowError):
        return None
