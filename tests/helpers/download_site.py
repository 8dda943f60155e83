"""A web server on this machine that answers as badly as it is told to."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[["Handler"], None]
DATA = bytes(range(256)) * 400  # 102400 bytes
LOGIN = b"<!DOCTYPE html><html><body>Please log in</body></html>"


@dataclass
class Asked:
    """A request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Handler(BaseHTTPRequestHandler):
    """Gives the next answer of the path asked for; the last one again and again."""

    server: Site
    asked: Asked

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.asked = Asked(self.command, self.path, dict(self.headers.items()), body)
        self.server.asked.append(self.asked)
        answers = self.server.answers.get(self.path.partition("?")[0], [status(404)])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        answer(self)

    do_POST = do_GET  # noqa: N815

    def begin(self, code: int, length: int, **headers: str) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def log_message(self, format: str, *values: Any) -> None:
        """Nothing to the screen."""


@dataclass
class Site(ThreadingHTTPServer):
    """`answers` by path; `asked` holds every request so far."""

    answers: dict[str, list[Answer]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

    daemon_threads = True

    def __post_init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    __hash__ = object.__hash__

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def ranges(self) -> list[str | None]:
        return [each.headers.get("Range") for each in self.asked]


def serve(data: bytes = DATA, *, etag: str = '"one"', ranges: bool = True, cut: int | None = None) -> Answer:
    """The file, from the byte asked for; `cut`: the connection breaks after so many bytes of the answer."""

    def answer(handler: Handler) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-", handler.asked.headers.get("Range", ""))
        same = handler.asked.headers.get("If-Range", etag) == etag
        start = int(wanted[1]) if wanted and ranges and same else 0
        if start >= len(data) > 0:
            return handler.begin(416, 0, Content_Range=f"bytes */{len(data)}")
        extra = {"ETag": etag} if etag else {}
        if start:
            extra["Content_Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        handler.begin(206 if start else 200, len(data) - start, **extra)
        handler.wfile.write(data[start : None if cut is None else start + cut])
        if cut is not None:
            handler.close_connection = True
            handler.wfile.flush()
            handler.connection.close()
        return None

    return answer


def status(code: int, **headers: str) -> Answer:
    return lambda handler: handler.begin(code, 0, **headers)


def redirect(to: str) -> Answer:
    return status(302, Location=to)


def page(body: bytes = LOGIN, kind: str = "text/html; charset=utf-8") -> Answer:
    def answer(handler: Handler) -> None:
        handler.begin(200, len(body), Content_Type=kind)
        handler.wfile.write(body)

    return answer


def tell(value: Any, code: int = 200) -> Answer:
    """JSON."""

    def answer(handler: Handler) -> None:
        body = json.dumps(value).encode()
        handler.begin(code, len(body), Content_Type="application/json")
        handler.wfile.write(body)

    return answer
