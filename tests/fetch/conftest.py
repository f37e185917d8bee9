"""A git project and a real git server on loopback, which can misbehave as servers do."""

from __future__ import annotations

import base64
import os
import shutil
import socket
import ssl
import subprocess
import threading
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.absent import absent
from tests.support.odd_registry import OddRegistry
from tests.support.registry import RegistryServer

from step_runner.errors import FetchError
from step_runner.fetch import http
from step_runner.fetch.cache import Cache
from step_runner.fetch.git.fetch import fetch_git
from step_runner.fetch.oci.fetch import fetch_oci
from step_runner.model import Git, Oci
from step_runner.proc import Proc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GIT = shutil.which("git")
OPENSSL = shutil.which("openssl")


class Project:
    """A git repository with a working tree, which the git program writes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str, text: str = "") -> str:
        command = [str(GIT), "-c", "protocol.file.allow=always", *arguments]
        return subprocess.run(
            command, cwd=self.directory, input=text, text=True, capture_output=True, check=True
        ).stdout.strip()

    def commit(self, files: dict[str, str]) -> str:
        """Write these files, commit everything and return the full hash of the commit."""
        for name, text in files.items():
            path = self.directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "change")
        return self.git("rev-parse", "HEAD")

    def commit_tree(self, *entries: tuple[str, str, str]) -> str:
        """Commit a tree of (mode, name, content) that git itself would refuse to add, on the branch `main`."""
        tree = b""
        for mode, name, content in entries:
            kind = {"40000": "tree", "160000": "commit"}.get(mode)
            hash_ = content if kind else self.git("hash-object", "-w", "--stdin", text=content)
            tree += f"{mode} {name}\0".encode() + bytes.fromhex(hash_)
        written = subprocess.run(
            [str(GIT), "hash-object", "-w", "-t", "tree", "--literally", "--stdin"],
            cwd=self.directory,
            input=tree,
            capture_output=True,
            check=True,
        )
        commit = self.git("commit-tree", "-m", "odd", written.stdout.decode().strip())
        self.git("update-ref", "refs/heads/main", commit)
        return commit


class FetchCache(Cache):
    """A cache with operations for tests."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.root = root

    def fetch(self, url: str, revision: str, timeout: float = 30.0) -> Path:
        return Path(fetch_git(Git(url=url, revision=revision), self, Proc(0), timeout=timeout))

    def fetch_image(
        self, host: str, repository: str, tag: str = "latest", proc: Proc | None = None, **env: str
    ) -> Path:
        reference = Oci(registry=host, repository=repository, tag=tag)
        return Path(fetch_oci(reference, self, proc or Proc(0), environment=lambda: env))

    def refusal(self, host: str, config: str = "") -> str:
        """Return the error of a fetch of the image x:1, without the name of the image.

        Check that the cache stays empty, and that the traceback holds no password.
        """
        with pytest.raises(FetchError) as caught:
            self.fetch_image(host, "x", "1", DOCKER_AUTH_CONFIG=config)

        assert self.entries() == []
        assert "hunter2" not in "".join(traceback.format_exception(caught.value))
        name, _, reason = str(caught.value).partition(": ")
        assert name.startswith(f"{host}/x")
        return reason

    def fetch_step(self, url: str, revision: str) -> str:
        """Return the text of the step file at this revision."""
        return (self.fetch(url, revision) / "steps/hello/step.yml").read_text()

    def entries(self) -> list[str]:
        """Return the names of all entries, complete and incomplete."""
        return sorted(path.name for kind in ("entries", "notes", "partial") for path in (self.root / kind).glob("*"))


class GitServer:
    """`git http-backend` with Python's HTTP server; `requests` are the requested paths, with the git command."""

    def __init__(self, root: Path, certificate: Path | None = None) -> None:
        self.root = root
        self.login: str | None = None
        self.answer: Callable[[BaseHTTPRequestHandler], None] | None = None
        self.cut: int | None = None
        self.protocol = "version=2"
        self.shallow = True
        self.requests: list[str] = []
        self.stalled = threading.Event()
        self._stopping = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = False
        self._scheme = "https" if certificate else "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def url(self, name: str, login: str = "", host: str = "127.0.0.1") -> str:
        return f"{self._scheme}://{login}{'@' if login else ''}{host}:{self._server.server_port}/{name}"

    def packs(self) -> int:
        """Return the number of requests for packs."""
        return sum(request.endswith("fetch") for request in self.requests)

    def stall(self) -> None:
        """Block in a handler until the server is closed."""
        self.stalled.set()
        self._stopping.wait()

    def close(self) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(server: GitServer) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.serve(self)

            do_POST = do_GET  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        return Handler

    def serve(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        command = "fetch" if b"want " in body else "ls-refs" if b"ls-refs" in body else ""
        self.requests.append(f"{request.path} {command}".strip())
        if self.answer:
            self.answer(request)
        elif self.login and not self._admits(request):
            request.send_response(401)
            request.send_header("WWW-Authenticate", 'Basic realm="git"')
            request.end_headers()
        elif not self.shallow and b"deepen" in body:
            self._send(request, b"0017ERR no shallow ones")
        else:
            self._pass_on(request, body, self.cut if command == "fetch" else None)

    def _send(self, request: BaseHTTPRequestHandler, answer: bytes) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "application/x-git-upload-pack-result")
        request.send_header("Content-Length", str(len(answer)))
        request.end_headers()
        request.wfile.write(answer)

    def _admits(self, request: BaseHTTPRequestHandler) -> bool:
        return request.headers.get("Authorization") == f"Basic {base64.b64encode(str(self.login).encode()).decode()}"

    def _pass_on(self, request: BaseHTTPRequestHandler, body: bytes, cut: int | None) -> None:
        path, _, query = request.path.partition("?")
        environment = {
            **os.environ,
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": request.command,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "GIT_PROTOCOL": self.protocol,
        }
        output = subprocess.run(
            [str(GIT), "http-backend"], env=environment, input=body, capture_output=True, check=False
        ).stdout
        head, _, content = output.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        request.send_response(int(headers.pop("Status", "200").split()[0]))
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content[:cut])
        if cut is not None:
            self.after_cut()

    def after_cut(self) -> None:
        """Close the connection after `cut` bytes of a pack; tests replace this."""


class SilentServer:
    """Accepts connections and sends nothing."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.accepted = threading.Event()
        self._connections: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def _accept(self) -> None:
        try:
            while True:
                self._connections.append(self._socket.accept()[0])
                self.accepted.set()
        except OSError:
            return

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        for each in (self._socket, *self._connections):
            each.close()


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Remove proxies and personal settings from the environment."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "Ada")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "ada@example.com")
        monkeypatch.setenv(f"GIT_{role}_DATE", "2026-01-02T03:04:05Z")


@pytest.fixture
def cache(tmp_path: Path) -> FetchCache:
    return FetchCache(tmp_path / "cache")


@pytest.fixture
def proc() -> Proc:
    return Proc(0)


@pytest.fixture
def repositories(tmp_path: Path) -> Path:
    """Return the directory that `server` serves."""
    if not GIT:
        absent("git")
    return tmp_path / "repositories"


@pytest.fixture
def project(repositories: Path) -> Project:
    """Return a project with one commit, which holds a program and a symbolic link."""
    project = Project(repositories / "project")
    (project.directory / "run.sh").write_text("#!/bin/sh\n")
    (project.directory / "run.sh").chmod(0o755)
    (project.directory / "link").symlink_to("steps/hello/step.yml")
    project.commit({"steps/hello/step.yml": "one"})
    return project


@pytest.fixture
def server(repositories: Path) -> Iterator[GitServer]:
    server = GitServer(repositories)
    yield server
    server.close()


@pytest.fixture
def odd_registry() -> Iterator[OddRegistry]:
    server = OddRegistry()
    yield server
    server.close()


@pytest.fixture
def other_registry() -> Iterator[OddRegistry]:
    """Yield a registry at another port, which counts as another host for credentials."""
    server = OddRegistry()
    yield server
    server.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry requests without a pause, unless the server names a time."""
    monkeypatch.setattr(http, "PAUSES", (0.0, 0.0))


@pytest.fixture
def secure_registry(certificate: Path, tmp_path: Path) -> Iterator[RegistryServer]:
    """Yield a registry that speaks TLS with a self-signed certificate."""
    server = RegistryServer(tmp_path / "registry", certificate=certificate)
    yield server
    server.close()


@pytest.fixture
def silent_server() -> Iterator[SilentServer]:
    server = SilentServer()
    yield server
    server.close()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Return a file with a self-signed certificate for 127.0.0.1 and its key."""
    if not OPENSSL:
        absent("openssl")
    path = tmp_path / "certificate.pem"
    subject = ["-subj", "/CN=loopback", "-addext", "subjectAltName=IP:127.0.0.1"]
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command = [OPENSSL, "req", "-x509", *new_key, *subject, "-days", "2", "-keyout", str(path), "-out", "-"]
    made = subprocess.run(command, capture_output=True, check=True)
    path.write_bytes(path.read_bytes() + made.stdout)
    return path


@pytest.fixture
def secure_server(repositories: Path, certificate: Path) -> Iterator[GitServer]:
    server = GitServer(repositories, certificate)
    yield server
    server.close()


@pytest.fixture(params=["http", "https", "file"])
def url(request: pytest.FixtureRequest, project: Project, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the URL of the project for each of the transports."""
    if request.param == "http":
        return str(request.getfixturevalue("server").url("project"))
    if request.param == "file":
        return project.directory.as_uri()
    monkeypatch.setenv("SSL_CERT_FILE", str(request.getfixturevalue("certificate")))
    return str(request.getfixturevalue("secure_server").url("project"))
