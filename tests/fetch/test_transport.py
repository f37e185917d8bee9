"""Registries that misbehave: the number of retries, the messages, and the content of the cache."""

from __future__ import annotations

import io
import threading
from typing import TYPE_CHECKING

import pytest
from tests.support.images import HERE, archive, files, manifest, member
from tests.support.odd_registry import OddRegistry, close, first, send, send_garbage, send_half

from step_runner.errors import FetchError, StoppedError
from step_runner.fetch.http import Request, open_client, pause_after, redirected
from step_runner.fetch.messages import AnswerError
from step_runner.fetch.oci.credentials import Credentials
from step_runner.fetch.oci.manifest import digest_of
from step_runner.fetch.oci.registry import open_repository
from step_runner.fetch.url import Url
from step_runner.proc import Proc

if TYPE_CHECKING:
    from collections.abc import Callable
    from http.server import BaseHTTPRequestHandler

    from tests.fetch.conftest import FetchCache, SilentServer

NOBODY = Credentials()
pytestmark = pytest.mark.usefixtures("impatient")

LAYER = archive(member("a", bytes(3_000_000)))


# Faults that pass


@pytest.mark.parametrize("where", ["/manifests/", "/blobs/"])
@pytest.mark.parametrize(
    "fault",
    [
        lambda request: send(request, 500, b"x" * 100_000),
        lambda request: send(request, 503, b"", {"Retry-After": "0"}),
        lambda request: send(request, 429, b"", {"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"}),
        lambda request: send(request, 429, b"", {"Retry-After": "soon"}),
        close,
    ],
    ids=["500", "503", "429", "429 without a time", "closed"],
)
def test_transient_fault_is_retried(
    odd_registry: OddRegistry, cache: FetchCache, fault: Callable[[BaseHTTPRequestHandler], None], where: str
) -> None:
    odd_registry.offer("x", "1", {HERE: [files(a="x")]})
    odd_registry.answer = first(2, fault, where)

    assert (cache.fetch_image(odd_registry.host, "x", "1") / "a").read_text() == "x"


@pytest.mark.parametrize(
    ("status", "retry_after", "pause"),
    [
        (200, "", None),
        (404, "5", None),
        (503, "", 0.5),
        (503, "1", 1.0),
        (429, " 30 ", 30.0),
        (429, "31", None),
        (503, "Thu, 01 Jan 1970 00:16:50 GMT", 10.0),
        (503, "Thu, 01 Jan 1970 00:17:20 GMT", None),
        (503, "Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        (503, "soon", 0.5),
        (503, "Thu, 01 Jan 1970 00:00:00 +99999999999999999999", 0.5),
    ],
)
def test_retry_waits_for_the_time_the_server_asks_for(status: int, retry_after: str, pause: float | None) -> None:
    """The present time is 1000 seconds after the start of 1970; the default pause is half a second."""
    assert pause_after(status, retry_after, 1000.0, 0.5) == pause


def test_cancel_ends_pause_between_attempts(odd_registry: OddRegistry) -> None:
    pausing = threading.Event()

    class Told(Proc):
        def pause(self, seconds: float) -> None:
            pausing.set()
            super().pause(seconds)

    proc, ended = Told(0), []
    odd_registry.answer = first(99, lambda request: send(request, 503, b"", {"Retry-After": "30"}), "")

    def ask() -> None:
        with open_client(proc, 5.0) as transport, pytest.raises(StoppedError) as raised:
            transport.send(Request("GET", Url.parse(f"http://{odd_registry.host}/v2/")))
        ended.append(raised.type)

    asker = threading.Thread(target=ask, daemon=True)
    asker.start()
    assert pausing.wait(10)
    proc.cancel()
    asker.join(10)
    assert ended == [StoppedError]
    assert len(odd_registry.asked) == 1


@pytest.mark.parametrize(
    ("source", "location"),
    [
        ("https://r.example/a", "http://r.example/a"),
        ("https://r.example/a", "http://127.0.0.1/a"),
        ("https://r.example/a", "HTTP://cdn.example/a"),
    ],
)
def test_redirect_from_https_to_http_is_refused(source: str, location: str) -> None:
    with pytest.raises(AnswerError, match=r"^the server redirects from https to http, which is refused; contact its"):
        redirected(Request("GET", Url.parse(source)), location)


@pytest.mark.parametrize(
    ("source", "location", "url"),
    [
        ("http://127.0.0.1:5000/a", "http://127.0.0.1:5001/b", "http://127.0.0.1:5001/b"),
        ("http://127.0.0.1:5000/a", "https://cdn.example/b", "https://cdn.example/b"),
        ("https://r.example/a/b", "c", "https://r.example/a/c"),
        ("https://r.example/a", "//cdn.example/b", "https://cdn.example/b"),
    ],
)
def test_other_redirect_is_followed(source: str, location: str, url: str) -> None:
    assert str(redirected(Request("GET", Url.parse(source)), location).url) == url


@pytest.mark.parametrize("ranges", [True, False], ids=["from there", "from the start"])
def test_interrupted_blob_is_resumed(odd_registry: OddRegistry, cache: FetchCache, ranges: bool) -> None:
    odd_registry.ranges = ranges
    odd_registry.offer("x", "1", {HERE: [LAYER]})
    odd_registry.answer = first(1, lambda request: send_half(request, LAYER))

    assert (cache.fetch_image(odd_registry.host, "x", "1") / "a").read_bytes() == bytes(3_000_000)
    begun, continued = odd_registry.blob_requests()
    assert begun.range is None
    assert continued.range
    assert 0 < int(continued.range.removeprefix("bytes=").removesuffix("-")) <= len(LAYER) // 2


def test_failed_upload_is_repeated_from_its_start(odd_registry: OddRegistry) -> None:
    failed = False

    def take(request: BaseHTTPRequestHandler) -> bool:
        nonlocal failed
        if request.command == "POST":
            send(request, 202, b"", {"Location": "/v2/x/blobs/uploads/1?state=a"})
        elif failed:
            send(request, 201, b"")
        else:
            failed = True
            send(request, 503, b"")
        return True

    odd_registry.answer = take
    content = io.BytesIO(b"head" + b"blob" * 1000)
    content.seek(4)
    with open_repository(odd_registry.host, "x", NOBODY, Proc(0)) as there:
        there.upload_blob(content, 4000, digest_of(b"blob" * 1000))

    puts = [asked for asked in odd_registry.asked if asked.method == "PUT"]
    assert [asked.body for asked in puts] == [b"blob" * 1000] * 2
    assert all(asked.path.startswith("/v2/x/blobs/uploads/1?state=a&digest=sha256%3A") for asked in puts)


# Faults that stay


def test_upload_too_large_for_the_registry_is_explained(odd_registry: OddRegistry) -> None:
    odd_registry.answer = first(99, lambda request: send(request, 413, b""), "")
    with (
        open_repository(odd_registry.host, "x", NOBODY, Proc(0)) as there,
        pytest.raises(FetchError, match=r"is too large for the registry \(HTTP 413\); make it smaller, or raise the"),
    ):
        there.upload_blob(io.BytesIO(b"x"), 1, digest_of(b"x"))


@pytest.mark.parametrize(
    ("fault", "reason", "attempts"),
    [
        (
            lambda request: send(request, 500, b'{"errors": [{"message": "disk \\u001b[31mfull"}]}'),
            'the registry answered with HTTP status 500, "disk [31mfull"; try again later',
            3,
        ),
        (lambda request: send(request, 418, b"[]"), "the registry answered with HTTP status 418; try again later", 1),
        (
            lambda request: send(request, 429, b""),
            "the registry has had too many requests (HTTP 429); try again later, or with credentials",
            3,
        ),
        (
            lambda request: send(request, 429, b"", {"Retry-After": "3600"}),
            "the registry has had too many requests (HTTP 429); try again later, or with credentials",
            1,
        ),
        (
            close,
            "the server closed the connection in the middle; try again",
            3,
        ),
        (
            send_garbage,
            "the server closed the connection in the middle; try again",
            3,
        ),
        (
            lambda request: send(request, 200, b"<html>"),
            "the registry's answer is not a manifest; check that there is a registry at this address",
            1,
        ),
        (
            lambda request: send(request, 200, b"[]"),
            "the registry's answer is not a manifest; check that there is a registry at this address",
            1,
        ),
        (
            lambda request: send(request, 200, b"{}"),
            "it is neither an image nor an index of images; check the artifact",
            1,
        ),
        (
            lambda request: send(request, 200, b'{"layers": [1]}'),
            "its manifest is not understood; check how it was built",
            1,
        ),
        (
            lambda request: send(request, 200, b'{"schemaVersion": 1}'),
            "it is in the format of Docker before 2016; push the image again with a current tool",
            1,
        ),
        (
            lambda request: send(request, 200, b" " * (5 << 20)),
            "the registry's answer is larger than 4 MiB; check its address",
            1,
        ),
    ],
    ids=[
        "500",
        "418",
        "429",
        "429 for an hour",
        "closed",
        "no HTTP",
        "web page",
        "list",
        "empty object",
        "wrong layers",
        "schema 1",
        "too large",
    ],
)  # fmt: skip
def test_permanent_fault_is_explained_after_few_attempts(
    odd_registry: OddRegistry,
    cache: FetchCache,
    fault: Callable[[BaseHTTPRequestHandler], None],
    reason: str,
    attempts: int,
) -> None:
    odd_registry.answer = first(99, fault, "/manifests/")

    assert cache.refusal(odd_registry.host) == reason
    assert len(odd_registry.asked) == attempts


@pytest.mark.parametrize(
    ("fault", "reason", "attempts"),
    [
        (
            lambda request: send_half(request, LAYER),
            "the server closed the connection in the middle; try again",
            3,
        ),
        (
            lambda request: send(request, 200, LAYER[:-100_000]),
            "the registry sent a blob that is shorter than was promised; push the image again",
            1,
        ),
        (
            lambda request: send(request, 200, LAYER[:-1] + b"x"),
            "the registry sent a blob with another sha256 digest; push the image again",
            1,
        ),
        (
            lambda request: send(request, 200, bytes(len(LAYER)) + LAYER),
            "the registry sent a blob with another sha256 digest; push the image again",
            1,
        ),
        (
            lambda request: send(request, 404, b""),
            "the blob or the repository does not exist (HTTP 404); push the image again",
            1,
        ),
        (
            lambda request: send(request, 500, b""),
            "the registry answered with HTTP status 500; try again later",
            3,
        ),
        (
            lambda request: send(request, 416, b""),
            "the registry has less of a blob than was promised (HTTP 416); push the image again",
            1,
        ),
    ],
    ids=["breaks off", "shorter", "other byte", "longer", "missing", "500", "416"],
)
def test_blob_with_wrong_content_leaves_nothing(
    odd_registry: OddRegistry,
    cache: FetchCache,
    fault: Callable[[BaseHTTPRequestHandler], None],
    reason: str,
    attempts: int,
) -> None:
    odd_registry.ranges = False
    odd_registry.offer("x", "1", {HERE: [LAYER]})
    odd_registry.answer = first(99, fault)

    assert cache.refusal(odd_registry.host) == reason
    assert len(odd_registry.blob_requests()) == attempts
    odd_registry.answer = lambda request: False
    assert (cache.fetch_image(odd_registry.host, "x", "1") / "a").stat().st_size == 3_000_000


def test_manifest_with_another_digest_is_refused(odd_registry: OddRegistry) -> None:
    wanted = manifest([b"one"])
    odd_registry.answer = first(1, lambda request: send(request, 200, manifest([b"two"]).content), "/manifests/")
    with (
        open_repository(odd_registry.host, "x", NOBODY, Proc(0)) as there,
        pytest.raises(FetchError, match=r"the registry sent a manifest with another digest; try again, or push it"),
    ):
        there.manifest(wanted.digest)


def test_index_naming_a_missing_image_is_explained(odd_registry: OddRegistry, cache: FetchCache) -> None:
    odd_registry.offer("x", "1", {HERE: [files(a="x")]})
    image = manifest([files(a="x")]).digest
    odd_registry.answer = first(99, lambda request: send(request, 404, b""), image)

    assert (
        cache.refusal(odd_registry.host) == f"the registry has no image {image}, which its index names; push it again"
    )


def test_silent_registry_fails_after_timeout(silent_server: SilentServer) -> None:
    with (
        open_repository(f"127.0.0.1:{silent_server.port}", "x", NOBODY, Proc(0), timeout=0.1) as there,
        pytest.raises(FetchError, match=r"/x:1: the server did not answer in time; check the network, or try again"),
    ):
        there.manifest("1")


def test_unreachable_registry_is_tried_once_and_explained(cache: FetchCache) -> None:
    with pytest.raises(FetchError) as caught:
        cache.fetch_image("127.0.0.1:1", "x", "1")

    assert str(caught.value) == (
        "127.0.0.1:1/x:1: no connection to 127.0.0.1:1 (connection refused); check the URL and the network"
    )
