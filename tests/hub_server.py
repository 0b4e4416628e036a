"""A Hub on loopback: answers what is asked of the Hub for a file, and misbehaves on demand."""

from __future__ import annotations

import hashlib
import os
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: dict[str, str]  # names in lower case

    @property
    def range(self) -> str | None:
        return self.headers.get("range")


@dataclass
class HubServer:
    """Files by their path on the server. The fields below `files` say what goes wrong; tests set them."""

    files: dict[str, bytes] = field(default_factory=dict)
    log: list[Request] = field(default_factory=list)
    refuse: dict[str, tuple[int, dict[str, str]]] = field(default_factory=dict)  # method -> status and headers
    body: bytes | None = None  # sent in place of what was announced
    etag: str | None = None  # announced in place of the true sha256
    size: int | None = None  # announced in place of the true size
    cuts: list[int] = field(default_factory=list)  # the next bodies end after so many bytes
    hold: threading.Event | None = None  # a body that is cut waits for this before it ends
    ranges: bool = True  # whether parts of a file can be asked for
    elsewhere: str | None = None  # address of the server that has the contents
    moved: dict[str, str] = field(default_factory=dict)  # path -> the path that it has now
    tls: ssl.SSLContext | None = None  # with it the server speaks HTTPS

    def __enter__(self) -> HubServer:
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        if self.tls:
            self._server.socket = self.tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.hold:
            self.hold.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def address(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self._server.server_port}"

    def asked(self, method: str) -> list[Request]:
        return [request for request in self.log if request.method == method]


@contextmanager
def pretended(monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes]) -> Iterator[HubServer]:
    """A server with these files, which is where the Hub is believed to be, here and in child processes."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", os.devnull)
    for name in ("HF_HUB_OFFLINE", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    with HubServer(files) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        yield server


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: HubServer

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        hub = self.hub
        hub.log.append(Request(self.command, self.path, {name.lower(): value for name, value in self.headers.items()}))
        if refusal := hub.refuse.get(self.command):
            return self._empty(*refusal)
        if path := hub.moved.get(self.path):
            return self._empty(308, {"Location": path})
        if (content := hub.files.get(self.path)) is None:
            return self._empty(404, {"X-Error-Code": "EntryNotFound"})
        announced = {
            "X-Linked-Etag": f'"{hub.etag or hashlib.sha256(content).hexdigest()}"',
            "X-Linked-Size": str(hub.size or len(content)),
            "Accept-Ranges": "bytes",
        }
        if hub.elsewhere:
            return self._empty(302, {**announced, "Location": hub.elsewhere + self.path})
        if hub.body is not None:
            content = hub.body
        start, status = 0, 200
        if hub.ranges and (wanted := self.headers.get("Range")):
            start, status = int(wanted.removeprefix("bytes=").removesuffix("-")), 206
            if start >= len(content):
                return self._empty(416, {"Content-Range": f"bytes */{len(content)}"})
            announced["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        rest = content[start:]
        self._start(status, {**announced, "Content-Length": str(len(rest))})
        if self.command == "GET":
            cut = hub.cuts.pop(0) if hub.cuts else None
            self.wfile.write(rest[:cut])
            if cut is not None:
                self.wfile.flush()
                if hub.hold:
                    hub.hold.wait()
                self.close_connection = True

    def _empty(self, status: int, headers: dict[str, str]) -> None:
        self._start(status, {**headers, "Content-Length": "0"})

    def _start(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
