"""The client of a registry: it finds uploaded content, and reports missing content."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import pytest
from tests.support.images import files, manifest
from tests.support.odd_registry import OddRegistry, first, send

from step_runner.errors import FetchError
from step_runner.fetch.oci import registry as registry_module
from step_runner.fetch.oci.credentials import Credentials
from step_runner.fetch.oci.manifest import Descriptor, digest_of
from step_runner.fetch.oci.registry import open_repository
from step_runner.proc import Proc

if TYPE_CHECKING:
    from http.server import BaseHTTPRequestHandler

    from tests.support.registry import RegistryServer

ADA = Credentials("ada", "hunter2")
NOBODY = Credentials()


# A real registry


def test_registry_returns_pushed_content(registry: RegistryServer, repository: str) -> None:
    blob, config = files(a="x"), b"{}"
    image = manifest([blob], config)
    with open_repository(registry.host, repository, NOBODY, Proc(0)) as there:
        assert (there.tags(), there.manifest("1"), there.has_blob(digest_of(blob))) == ([], None, False)
        for content in (blob, config):
            there.upload_blob(io.BytesIO(content), len(content), digest_of(content))
        for tag in ("1", "1.0", "latest"):
            there.put_manifest(tag, image)

        assert there.has_blob(digest_of(blob))
        assert sorted(there.tags()) == ["1", "1.0", "latest"]
        assert there.manifest("1") == there.manifest(image.digest) == image
        with there.blob(Descriptor(digest_of(blob), len(blob))) as pieces:
            assert b"".join(pieces) == blob


def test_push_to_closed_registry_needs_credentials(closed_registry: RegistryServer, repository: str) -> None:
    blob = b"x" * 100_000
    with open_repository(closed_registry.host, repository, ADA, Proc(0)) as there:
        there.upload_blob(io.BytesIO(blob), len(blob), digest_of(blob))
        assert there.has_blob(digest_of(blob))

    with (
        open_repository(closed_registry.host, repository, NOBODY, Proc(0)) as there,
        pytest.raises(FetchError, match=r"the registry asks for credentials \(HTTP 401\); set DOCKER_AUTH_CONFIG"),
    ):
        there.upload_blob(io.BytesIO(blob), len(blob), digest_of(blob))


def test_registry_refuses_upload_with_another_digest(registry: RegistryServer, repository: str) -> None:
    with (
        open_repository(registry.host, repository, NOBODY, Proc(0)) as there,
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
    with open_repository(odd_registry.host, "x", NOBODY, Proc(0)) as there:
        assert there.tags() == ["a", "b", "c"]


def test_tag_page_at_another_host_gets_no_credentials(odd_registry: OddRegistry, other_registry: OddRegistry) -> None:
    """The next page of a list of tags may be at another host; the request to it has no credentials."""

    def page(request: BaseHTTPRequestHandler) -> bool:
        if "/tags/" not in request.path or not odd_registry.admits(request):
            return False
        link = {"Link": f'<http://{other_registry.host}/v2/x/tags/list?last=a>; rel="next"'}
        send(request, 200, b'{"tags": ["a"]}', link)
        return True

    odd_registry.login, odd_registry.answer = "ada:hunter2", page
    with open_repository(odd_registry.host, "x", ADA, Proc(0)) as there:
        assert there.tags() == ["a"]
    assert [asked.authorization for asked in other_registry.asked] == [None]


def test_tag_page_linking_back_is_the_last(odd_registry: OddRegistry) -> None:
    def page(request: BaseHTTPRequestHandler) -> bool:
        first_one = "last=" not in request.path
        link = {"Link": '</v2/x/tags/list?last=b>; rel="next"'}
        send(request, 200, b'{"tags": ["a", "b"]}' if first_one else b'{"tags": ["c"]}', link)
        return True

    odd_registry.answer = page
    with open_repository(odd_registry.host, "x", NOBODY, Proc(0)) as there:
        assert there.tags() == ["a", "b", "c"]
    assert len(odd_registry.asked) == 2


@pytest.mark.parametrize(
    ("size", "reason"),
    [
        (40, r"/x: the registry lists more than 100 tags; remove old ones$"),
        (0, r"/x: its tag pagination never ends; contact the operator of the registry$"),
    ],
    ids=["tags", "pages"],
)
def test_endless_tags_are_refused(
    odd_registry: OddRegistry, monkeypatch: pytest.MonkeyPatch, size: int, reason: str
) -> None:
    def page(request: BaseHTTPRequestHandler) -> bool:
        link = {"Link": f'</v2/x/tags/list?last={len(odd_registry.asked)}>; rel="next"'}
        send(request, 200, json.dumps({"tags": ["a"] * size}).encode(), link)
        return True

    monkeypatch.setattr(registry_module, "_MOST_TAGS", 100)
    monkeypatch.setattr(registry_module, "_MOST_PAGES", 5)
    odd_registry.answer = page
    with (
        open_repository(odd_registry.host, "x", NOBODY, Proc(0)) as there,
        pytest.raises(FetchError, match=reason),
    ):
        there.tags()


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"<html>"], ids=repr)
def test_invalid_tag_list_is_explained(odd_registry: OddRegistry, content: bytes) -> None:
    odd_registry.answer = first(1, lambda request: send(request, 200, content), "/tags/")
    with (
        open_repository(odd_registry.host, "x", NOBODY, Proc(0)) as there,
        pytest.raises(FetchError, match=r"/x: the registry's answer is not a list of tags; check its address$"),
    ):
        there.tags()
