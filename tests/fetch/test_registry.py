"""The client of a registry: what it sends, and what it makes of registries that misbehave."""

from __future__ import annotations

import io
import json
import logging
import traceback
from typing import TYPE_CHECKING

import pytest
from tests.support.images import HERE, archive, files, manifest, member
from tests.support.odd_registry import OddRegistry, send, send_half

from step_runner.errors import FetchError
from step_runner.fetch import transport
from step_runner.fetch.cancellation import Cancellation
from step_runner.fetch.credentials import Credentials
from step_runner.fetch.image import Descriptor, digest_of
from step_runner.fetch.registry import open_repository

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from http.server import BaseHTTPRequestHandler

    from tests.fetch.conftest import FetchCache, SilentServer
    from tests.support.registry import RegistryServer

ADA = Credentials("ada", "hunter2")
NOBODY = Credentials()
LAYER = archive(member("a", bytes(3_000_000)))


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts follow each other at once, where the server does not ask for time."""
    monkeypatch.setattr(transport, "PAUSES", (0.0, 0.0))


@pytest.fixture
def other_registry() -> Iterator[OddRegistry]:
    server = OddRegistry()
    yield server
    server.close()


def config_of(host: str, **entry: str) -> str:
    return json.dumps({"auths": {host: entry or {"username": "ada", "password": "hunter2"}}})


def close(request: BaseHTTPRequestHandler) -> None:
    request.close_connection = True


def send_garbage(request: BaseHTTPRequestHandler) -> None:
    request.wfile.write(b"what is this\r\n\r\n")
    request.close_connection = True


def refusal(cache: FetchCache, registry: OddRegistry, config: str = "") -> str:
    """What is said when the image x:1 cannot be fetched, without the name in front."""
    with pytest.raises(FetchError) as caught:
        cache.fetch_image(registry.host, "x", "1", DOCKER_AUTH_CONFIG=config)

    assert cache.entries() == []
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))
    name, _, reason = str(caught.value).partition(": ")
    assert name.startswith(f"{registry.host}/x")
    return reason


def first(times: int, fault: Callable[[BaseHTTPRequestHandler], None], where: str = "/blobs/") -> Callable[..., bool]:
    """Answers so many requests with a fault, and leaves the others alone."""
    left = times

    def answer(request: BaseHTTPRequestHandler) -> bool:
        nonlocal left
        if where not in request.path or not left:
            return False
        left -= 1
        fault(request)
        return True

    return answer


# A real registry


def test_what_is_put_is_found(registry: RegistryServer, repository: str) -> None:
    blob, config = files(a="x"), b"{}"
    image = manifest([blob], config)
    with open_repository(registry.host, repository, NOBODY, Cancellation()) as there:
        assert (there.tags(), there.manifest("1"), there.has_blob(digest_of(blob))) == ([], None, False)
        for content in (blob, config):
            there.upload_blob(io.BytesIO(content), len(content), digest_of(content))
        for tag in ("1", "1.0", "latest"):
            there.put_manifest(tag, image)

        assert there.has_blob(digest_of(blob))
        assert sorted(there.tags()) == ["1", "1.0", "latest"]
        assert there.manifest("1") == there.manifest(image.digest) == image
        with there.blob(Descriptor(digest_of(blob), len(blob))) as stream:
            assert stream.read() == blob


def test_push_to_a_closed_registry_needs_credentials(closed_registry: RegistryServer, repository: str) -> None:
    blob = b"x" * 100_000
    with open_repository(closed_registry.host, repository, ADA, Cancellation()) as there:
        there.upload_blob(io.BytesIO(blob), len(blob), digest_of(blob))
        assert there.has_blob(digest_of(blob))

    with (
        open_repository(closed_registry.host, repository, NOBODY, Cancellation()) as there,
        pytest.raises(FetchError, match=r"the registry asks for credentials \(HTTP 401\); set DOCKER_AUTH_CONFIG"),
    ):
        there.upload_blob(io.BytesIO(blob), len(blob), digest_of(blob))


def test_upload_of_something_else_is_refused_by_the_registry(registry: RegistryServer, repository: str) -> None:
    with (
        open_repository(registry.host, repository, NOBODY, Cancellation()) as there,
        pytest.raises(FetchError, match=r"the registry answered with HTTP status 400, \"provided digest did not match"),
    ):
        there.upload_blob(io.BytesIO(b"two"), 3, digest_of(b"one"))


# Tags


def test_tags_of_all_pages_are_listed(odd_registry: OddRegistry) -> None:
    def page(request: BaseHTTPRequestHandler) -> bool:
        last = request.path.partition("last=")[2]
        link = {} if last else {"Link": '</v2/x/tags/list?n=1000&last=b>; rel="next"'}
        send(request, 200, json.dumps({"name": "x", "tags": ["c"] if last else ["a", "b"]}).encode(), link)
        return True

    odd_registry.answer = page
    with open_repository(odd_registry.host, "x", NOBODY, Cancellation()) as there:
        assert there.tags() == ["a", "b", "c"]


def test_pages_of_tags_at_another_host_are_asked_for_without_credentials(
    odd_registry: OddRegistry, other_registry: OddRegistry
) -> None:
    def page(request: BaseHTTPRequestHandler) -> bool:
        if "/tags/" not in request.path or not odd_registry._admits(request):
            return False
        link = {"Link": f'<http://{other_registry.host}/v2/x/tags/list?last=a>; rel="next"'}
        send(request, 200, b'{"tags": ["a"]}', link)
        return True

    odd_registry.login, odd_registry.answer = "ada:hunter2", page
    with open_repository(odd_registry.host, "x", ADA, Cancellation()) as there:
        assert there.tags() == ["a"]
    assert [asked.authorization for asked in other_registry.asked] == [None]


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"<html>"], ids=repr)
def test_answer_that_is_no_list_of_tags_is_explained(odd_registry: OddRegistry, content: bytes) -> None:
    odd_registry.answer = first(1, lambda request: send(request, 200, content), "/tags/")
    with (
        open_repository(odd_registry.host, "x", NOBODY, Cancellation()) as there,
        pytest.raises(FetchError, match=r"/x: the registry's answer is no list of tags; check its address$"),
    ):
        there.tags()


# Tokens


@pytest.mark.parametrize(
    ("login", "environment"),
    [
        ("", {}),
        ("ada:hunter2", {"username": "ada", "password": "hunter2"}),
        ("ada:hunter2", {"identitytoken": "hunter2-token"}),
        ("ada:hunter2", {"registrytoken": "hunter2-registry"}),
    ],
    ids=["anonymous", "password", "identity token", "registry token"],
)
def test_token_is_asked_for_once_and_opens_the_registry(
    odd_registry: OddRegistry,
    cache: FetchCache,
    caplog: pytest.LogCaptureFixture,
    login: str,
    environment: dict[str, str],
) -> None:
    caplog.set_level(logging.DEBUG)
    odd_registry.login, odd_registry.identity = login, "hunter2-token"
    odd_registry.tokens = {"hunter2-registry"}
    odd_registry.offer("x", "1", {HERE: [files(a="x"), files(b="y")]})
    config = config_of(odd_registry.host, **environment) if environment else ""
    cache.fetch_image(odd_registry.host, "x", "1", DOCKER_AUTH_CONFIG=config)

    asked = [asked for asked in odd_registry.asked if asked.path.startswith("/token")]
    assert [request.method for request in asked] == (
        [] if "registrytoken" in environment else ["POST" if "identitytoken" in environment else "GET"]
    )
    assert odd_registry.asked[0].authorization is None
    assert not any("hunter2" in record.getMessage() or "token-0" in record.getMessage() for record in caplog.records)


def test_token_that_has_expired_is_asked_for_again(odd_registry: OddRegistry, cache: FetchCache) -> None:
    odd_registry.login = "ada:hunter2"
    odd_registry.offer("x", "1", {HERE: [files(a="x"), files(b="y")]})

    def expire(request: BaseHTTPRequestHandler) -> bool:
        if "/blobs/" in request.path and len(odd_registry.tokens) == 1:
            odd_registry.tokens = {"used-up"}
        return False

    odd_registry.answer = expire
    cache.fetch_image(odd_registry.host, "x", "1", DOCKER_AUTH_CONFIG=config_of(odd_registry.host))

    assert sum(asked.path.startswith("/token") for asked in odd_registry.asked) == 2


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("", "the registry asks for credentials (HTTP 401); set DOCKER_AUTH_CONFIG in the step's environment"),
        ("guess", "the registry refuses the credentials (HTTP 401); check DOCKER_AUTH_CONFIG and what they allow"),
    ],
    ids=["none", "wrong"],
)
def test_refused_token_is_explained(odd_registry: OddRegistry, cache: FetchCache, config: str, reason: str) -> None:
    odd_registry.login = "ada:hunter2"
    text = config_of(odd_registry.host, username="ada", password=config) if config else ""

    assert refusal(cache, odd_registry, text) == reason


def test_registry_that_is_never_content_with_its_own_token_is_asked_twice(
    odd_registry: OddRegistry, cache: FetchCache
) -> None:
    odd_registry.login = ""
    challenge = {"WWW-Authenticate": f'Bearer realm="http://{odd_registry.host}/token"'}
    odd_registry.answer = first(99, lambda request: send(request, 401, b"", challenge), "/manifests/")

    assert refusal(cache, odd_registry).startswith("the registry asks for credentials (HTTP 401)")
    assert len(odd_registry.asked) == 3


@pytest.mark.parametrize(
    ("challenge", "reason"),
    [
        ("Negotiate", "the registry cannot be used: it asks for credentials in a way that is not supported;"),
        ('Bearer realm="http://evil.example/"', "the registry cannot be used: it wants a password to be sent to evil"),
        ('Bearer realm="what"', "the registry cannot be used: it names no server of tokens;"),
    ],
)
def test_challenge_that_cannot_be_answered_is_explained(
    odd_registry: OddRegistry, cache: FetchCache, challenge: str, reason: str
) -> None:
    odd_registry.answer = first(
        99, lambda request: send(request, 401, b"", {"WWW-Authenticate": challenge}), "/manifests/"
    )

    assert refusal(cache, odd_registry, config_of(odd_registry.host)).startswith(reason)


# Redirects


@pytest.mark.parametrize("basic", [True, False], ids=["basic", "token"])
def test_credentials_do_not_follow_a_redirect_to_another_host(
    odd_registry: OddRegistry, other_registry: OddRegistry, cache: FetchCache, basic: bool
) -> None:
    odd_registry.login = "ada:hunter2"
    odd_registry.offer("x", "1", {HERE: [files(a="x")]})
    other_registry.offer("x", "1", {HERE: [files(a="x")]})

    def redirect(request: BaseHTTPRequestHandler) -> bool:
        if basic and not request.headers["Authorization"]:
            send(request, 401, b"", {"WWW-Authenticate": "Basic"})
        elif "/blobs/" in request.path:
            send(request, 307, b"", {"Location": f"http://{other_registry.host}{request.path}"})
        elif basic:
            odd_registry._send_content(request)
        else:
            return False
        return True

    odd_registry.answer = redirect
    cache.fetch_image(odd_registry.host, "x", "1", DOCKER_AUTH_CONFIG=config_of(odd_registry.host))

    assert [asked.authorization for asked in other_registry.asked] == [None]


def test_host_of_a_redirect_gets_no_credentials_by_asking_for_them(
    odd_registry: OddRegistry, other_registry: OddRegistry, cache: FetchCache
) -> None:
    challenge = f'Bearer realm="http://{other_registry.host}/token"'
    other_registry.answer = first(99, lambda request: send(request, 401, b"", {"WWW-Authenticate": challenge}), "")
    odd_registry.answer = first(
        99, lambda request: send(request, 302, b"", {"Location": f"http://{other_registry.host}/x"}), "/manifests/"
    )

    reason = refusal(cache, odd_registry, config_of(odd_registry.host))
    assert reason.startswith("the registry refuses the credentials (HTTP 401)")
    assert [(asked.path, asked.authorization) for asked in other_registry.asked] == [("/x", None)]


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("/v2/x/manifests/1", "the server redirects more than 5 times; try again later"),
        ("file:///etc/passwd", "the server redirects to an address that is no URL; try again later"),
        ("http://[", "the server redirects to an address that is no URL; try again later"),
    ],
    ids=["circle", "file", "no URL"],
)
def test_redirect_that_is_not_followed_is_explained(
    odd_registry: OddRegistry, cache: FetchCache, location: str, reason: str
) -> None:
    odd_registry.answer = first(99, lambda request: send(request, 302, b"", {"Location": location}), "/manifests/")

    assert refusal(cache, odd_registry) == reason


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
def test_fault_that_passes_is_waited_for(
    odd_registry: OddRegistry, cache: FetchCache, fault: Callable[[BaseHTTPRequestHandler], None], where: str
) -> None:
    odd_registry.offer("x", "1", {HERE: [files(a="x")]})
    odd_registry.answer = first(2, fault, where)

    assert (cache.fetch_image(odd_registry.host, "x", "1") / "a").read_text() == "x"


@pytest.mark.parametrize("ranges", [True, False], ids=["from there", "from the start"])
def test_blob_that_breaks_off_is_gone_on_with(odd_registry: OddRegistry, cache: FetchCache, ranges: bool) -> None:
    odd_registry.ranges = ranges
    odd_registry.offer("x", "1", {HERE: [LAYER]})
    odd_registry.answer = first(1, lambda request: send_half(request, LAYER))

    assert (cache.fetch_image(odd_registry.host, "x", "1") / "a").read_bytes() == bytes(3_000_000)
    begun, continued = odd_registry.blob_requests()
    assert begun.range is None
    assert continued.range
    assert 0 < int(continued.range.removeprefix("bytes=").removesuffix("-")) <= len(LAYER) // 2


def test_upload_that_failed_is_sent_again_from_its_start(odd_registry: OddRegistry) -> None:
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
    with open_repository(odd_registry.host, "x", NOBODY, Cancellation()) as there:
        there.upload_blob(content, 4000, digest_of(b"blob" * 1000))

    puts = [asked for asked in odd_registry.asked if asked.method == "PUT"]
    assert [asked.body for asked in puts] == [b"blob" * 1000] * 2
    assert all(asked.path.startswith("/v2/x/blobs/uploads/1?state=a&digest=sha256%3A") for asked in puts)


# Faults that stay


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
            "the registry's answer is no manifest; check that there is a registry at this address",
            1,
        ),
        (
            lambda request: send(request, 200, b"[]"),
            "the registry's answer is no manifest; check that there is a registry at this address",
            1,
        ),
        (
            lambda request: send(request, 200, b"{}"),
            "it is neither an image nor an index of images; check what was pushed there",
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
def test_fault_that_stays_is_explained_after_a_few_attempts(
    odd_registry: OddRegistry,
    cache: FetchCache,
    fault: Callable[[BaseHTTPRequestHandler], None],
    reason: str,
    attempts: int,
) -> None:
    odd_registry.answer = first(99, fault, "/manifests/")

    assert refusal(cache, odd_registry) == reason
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
            "the registry sent a blob that is shorter than its manifest says; push the image again",
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
            "the registry has no such blob or repository (HTTP 404); push the image again",
            1,
        ),
        (
            lambda request: send(request, 500, b""),
            "the registry answered with HTTP status 500; try again later",
            3,
        ),
    ],
    ids=["breaks off", "shorter", "other byte", "longer", "missing", "500"],
)
def test_blob_that_is_not_what_was_promised_leaves_nothing(
    odd_registry: OddRegistry,
    cache: FetchCache,
    fault: Callable[[BaseHTTPRequestHandler], None],
    reason: str,
    attempts: int,
) -> None:
    odd_registry.ranges = False
    odd_registry.offer("x", "1", {HERE: [LAYER]})
    odd_registry.answer = first(99, fault)

    assert refusal(cache, odd_registry) == reason
    assert len(odd_registry.blob_requests()) == attempts
    odd_registry.answer = lambda request: False
    assert (cache.fetch_image(odd_registry.host, "x", "1") / "a").stat().st_size == 3_000_000


def test_manifest_with_another_digest_is_refused(odd_registry: OddRegistry) -> None:
    wanted = manifest([b"one"])
    odd_registry.answer = first(1, lambda request: send(request, 200, manifest([b"two"]).content), "/manifests/")
    with (
        open_repository(odd_registry.host, "x", NOBODY, Cancellation()) as there,
        pytest.raises(FetchError, match=r"the registry sent a manifest with another digest; try again, or push it"),
    ):
        there.manifest(wanted.digest)


def test_index_that_names_a_missing_image_is_explained(odd_registry: OddRegistry, cache: FetchCache) -> None:
    odd_registry.offer("x", "1", {HERE: [files(a="x")]})
    image = manifest([files(a="x")]).digest
    odd_registry.answer = first(99, lambda request: send(request, 404, b""), image)

    assert refusal(cache, odd_registry) == f"the registry has no image {image}, which the index names; push it again"


def test_words_of_a_registry_are_told_without_secrets(odd_registry: OddRegistry, cache: FetchCache) -> None:
    """A registry may send back what it was sent."""
    odd_registry.login = "ada:hunter2"
    odd_registry.tokens = {"x" * 50}

    def echo(request: BaseHTTPRequestHandler) -> None:
        said = f"{request.headers['Authorization']} hunter2"
        send(request, 418, json.dumps({"errors": [{"message": said}]}).encode())

    odd_registry.answer = lambda request: bool(request.headers["Authorization"]) and first(1, echo, "/v2/")(request)

    reason = refusal(cache, odd_registry, config_of(odd_registry.host))
    assert reason == 'the registry answered with HTTP status 418, "Bearer *** ***"; try again later'


def test_silent_registry_is_given_up_after_the_timeout(silent_server: SilentServer) -> None:
    with (
        open_repository(f"127.0.0.1:{silent_server.port}", "x", NOBODY, Cancellation(), timeout=0.1) as there,
        pytest.raises(FetchError, match=r"/x:1: the server did not answer in time; check the network, or try again"),
    ):
        there.manifest("1")


def test_registry_that_is_not_there_is_asked_once_and_explained(cache: FetchCache) -> None:
    with pytest.raises(FetchError) as caught:
        cache.fetch_image("127.0.0.1:1", "x", "1")

    assert str(caught.value) == (
        "127.0.0.1:1/x:1: no connection to 127.0.0.1:1 (connection refused); check the URL and the network"
    )
