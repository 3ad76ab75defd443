"""An OpenAI-compatible server on loopback that can be made to misbehave, for the tests of whatever asks a server."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

Reply = tuple[int, Any]


def chat_completion(text: str | None = "[1, 2]", tokens: int = 3, **choice: Any) -> dict[str, Any]:
    return {
        "object": "chat.completion",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}, **choice}],
        "usage": {"prompt_tokens": 7, "completion_tokens": tokens, "total_tokens": 7 + tokens},
    }


def the_seed_as_text(request: dict[str, Any]) -> Reply:
    return 200, chat_completion(str(request["seed"]))


class LoopbackServer(http.server.ThreadingHTTPServer):
    """Answers every request with what `answer` says: a status, and bytes or what becomes JSON."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        self.answer: Callable[[dict[str, Any]], Reply] = the_seed_as_text
        self.headers = {"Content-Type": "application/json", "Retry-After-Ms": "1"}  # or the client waits half a second
        self.seen: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        """Path, headers and body of each request, in the order of their coming."""
        self.arrived = threading.Semaphore(0)
        """Released once for each."""
        self.over = threading.Event()
        """Set at the end of the test: what an answer may wait for that is never to come."""
        self.under_way = self.most_under_way = 0
        self.counting = threading.Lock()

    def requests(self) -> list[dict[str, Any]]:
        return [body for _, _, body in self.seen]

    def answer_in_turn(self, *replies: Reply) -> None:
        """These, and then the usual answer."""
        left, usual = iter(replies), self.answer
        self.answer = lambda request: next(left, None) or usual(request)

    def never_answer(self) -> None:
        self.answer = lambda request: (self.over.wait(), (500, {}))[1]


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: LoopbackServer

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # whoever asked may have left
            super().handle()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        headers = {name.lower(): value for name, value in self.headers.items()}
        with self.server.counting:
            self.server.seen.append((self.path, headers, body))
            self.server.under_way += 1
            self.server.most_under_way = max(self.server.most_under_way, self.server.under_way)
        self.server.arrived.release()
        status, answer = self.server.answer(body)
        with self.server.counting:
            self.server.under_way -= 1
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **self.server.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def serve() -> Iterator[LoopbackServer]:
    with LoopbackServer() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield running
        running.over.set()
        running.shutdown()
        thread.join()
