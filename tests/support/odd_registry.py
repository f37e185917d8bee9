"""Our own registry on loopback, which can answer with the faults of real registries."""

from __future__ import annotations

import base64
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qs, urlsplit

from tests.support.images import index, manifest

from step_runner.fetch.oci.manifest import digest_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from step_runner.fetch.oci.platform import Platform
    from step_runner.fetch.oci.registry import Manifest


class Asked(NamedTuple):
    """A received request."""

    method: str
    path: str
    authorization: str | None
    range: str | None
    body: bytes


class OddRegistry:
    """Serves the offered content; `answer` can answer a request instead, and returns whether it did.

    If `login` is set, requests need a token. The server gives one for this user and password or for the identity token
    `identity`; if `login` is empty, it gives one to a client without credentials.
    """

    def __init__(self) -> None:
        self.answer: Callable[[BaseHTTPRequestHandler], bool] = lambda request: False
        self.login: str | None = None
        self.identity = ""
        self.ranges = True
        self.asked: list[Asked] = []
        self.tokens: set[str] = set()
        self.stalled = threading.Event()
        self._stopping = threading.Event()
        self._content: dict[str, tuple[str, bytes]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def host(self) -> str:
        """The part of a reference in front of the repository."""
        return f"127.0.0.1:{self._server.server_port}"

    def offer(self, repository: str, tag: str, images: dict[Platform, list[bytes]]) -> str:
        """Offer an index of images under a tag and its digest; return the digest."""
        made = [(platform, manifest(layers)) for platform, layers in images.items()]
        self.offer_blobs(repository, [b"{}", *(layer for layers in images.values() for layer in layers)])
        for _, image in made:
            self.offer_manifest(repository, image.digest, image)
        return self.offer_manifest(repository, tag, index(made))

    def offer_manifest(self, repository: str, tag: str, offered: Manifest) -> str:
        for reference in (tag, offered.digest):
            self._content[f"/v2/{repository}/manifests/{reference}"] = (offered.media_type, offered.content)
        return offered.digest

    def offer_blobs(self, repository: str, blobs: Iterable[bytes]) -> None:
        for blob in blobs:
            self._content[f"/v2/{repository}/blobs/{digest_of(blob)}"] = ("application/octet-stream", blob)

    def content(self, path: str) -> bytes:
        """Return the content at the path of a request."""
        return self._content[path][1]

    def blob_requests(self) -> list[Asked]:
        """Return the requests for blobs."""
        return [asked for asked in self.asked if "/blobs/" in asked.path]

    def stall(self) -> None:
        """Block a handler until the server is closed."""
        self.stalled.set()
        self._stopping.wait()

    def close(self) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def serve(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        headers = request.headers
        self.asked.append(Asked(request.command, request.path, headers["Authorization"], headers["Range"], body))
        if self.answer(request):
            return
        if urlsplit(request.path).path == "/token":
            self._give_token(request, body)
        elif self.login is not None and not self.admits(request):
            realm = f"http://{self.host}/token?via=x"
            challenge = f'Bearer realm="{realm}",service="{self.host}",scope="repository:x:pull"'
            send(request, 401, b"", {"WWW-Authenticate": challenge})
        elif request.path in self._content:
            self.send_content(request)
        else:
            send(request, 404, b'{"errors": [{"code": "NAME_UNKNOWN", "message": "not known"}]}')

    def send_content(self, request: BaseHTTPRequestHandler) -> None:
        media_type, content = self._content[request.path]
        wanted = re.fullmatch(r"bytes=(\d+)-", request.headers["Range"] or "")
        start = int(wanted[1]) if wanted and self.ranges else 0
        send(request, 206 if start else 200, content[start:], {"Content-Type": media_type})

    def admits(self, request: BaseHTTPRequestHandler) -> bool:
        return (request.headers["Authorization"] or "").removeprefix("Bearer ") in self.tokens

    def _give_token(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        if request.command == "POST":
            given = parse_qs(body.decode()).get("refresh_token") == [self.identity]
        else:
            basic = f"Basic {base64.b64encode((self.login or '').encode()).decode()}"
            given = request.headers["Authorization"] == (basic if self.login else None)
        token = f"token-{len(self.tokens)}"
        self.tokens |= {token} if given else set()
        send(request, 200 if given else 401, json.dumps({"token": token}).encode() if given else b"")


def send(request: BaseHTTPRequestHandler, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
    """Answer with content and its length."""
    request.send_response(status)
    for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
        request.send_header(name, value)
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(content)


def send_half(request: BaseHTTPRequestHandler, content: bytes) -> None:
    """Send half of the content, then close the connection."""
    send(request, 200, content[: len(content) // 2], {"Content-Length": str(len(content))})
    request.close_connection = True


def close(request: BaseHTTPRequestHandler) -> None:
    request.close_connection = True


def send_garbage(request: BaseHTTPRequestHandler) -> None:
    request.wfile.write(b"what is this\r\n\r\n")
    request.close_connection = True


def first(times: int, fault: Callable[[BaseHTTPRequestHandler], None], where: str = "/blobs/") -> Callable[..., bool]:
    """Return an `answer` that answers the first requests with a fault, and leaves later ones to the server."""
    left = times

    def answer(request: BaseHTTPRequestHandler) -> bool:
        nonlocal left
        if where not in request.path or not left:
            return False
        left -= 1
        fault(request)
        return True

    return answer


def _handler(server: OddRegistry) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            server.serve(self)

        do_HEAD = do_PUT = do_POST = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    return Handler
