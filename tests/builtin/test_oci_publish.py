"""Publishing to a real registry, and running the published function."""

from __future__ import annotations

import asyncio
import io
import json
import tarfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import pytest
from tests.support.images import HERE
from tests.support.steps import run_list

from step_runner.builtin import compatibility
from step_runner.builtin.layout import open_archive
from step_runner.builtin.oci import Published, oci_build, oci_publish
from step_runner.builtin.push import push
from step_runner.builtin.signature import arguments
from step_runner.errors import FetchError, InputError
from step_runner.expression import Secret
from step_runner.fetch.oci.credentials import Credentials
from step_runner.fetch.oci.registry import ImageRepository, open_repository
from step_runner.model import Status
from step_runner.proc import Proc

if TYPE_CHECKING:
    from tests.runner.conftest import Workshop
    from tests.support.registry import RegistryServer

    from step_runner.fetch.oci.registry import Manifest

VERSIONS = ("1.2.3", "2.0.0", "1.3.0", "1.2.4", "2.1.0-rc1")
"""In the order in which they are published."""


@pytest.fixture
def project(workshop: Workshop) -> Path:
    """A function with a program and a text, in the work dir."""
    root = workshop.work_dir
    (root / "func.yml").write_text("spec: {}\n---\nexec:\n  command: ['${{ func_dir }}/bin/hello']\n")
    (root / "hello").write_text("#!/bin/sh\ncat $(dirname $0)/../text\n")
    (root / "hello").chmod(0o755)
    (root / "text").write_text("hello from the registry\n")
    return root


def build(version: str = "1.2.3", **platforms: dict[str, Any]) -> dict[str, Any]:
    files = {"files": {"func.yml": "func.yml", "bin/hello": "hello", "text": "text"}}
    inputs = {"version": version, "common": files, "platforms": platforms or {str(HERE): {}}}
    return {"name": "build", "func": "builtin://function/oci/build", "inputs": inputs}


def publish(to: str) -> dict[str, Any]:
    inputs = {"archive": "${{ steps.build.outputs.archive }}", "to_repository": to}
    return {"name": "publish", "func": "builtin://function/oci/publish", "inputs": inputs}


def call(function: str, **inputs: Any) -> dict[str, Any]:
    return {"name": "call", "func": f"builtin://{function}", "inputs": inputs}


def manifests(server: RegistryServer, repository: str) -> dict[str, Manifest]:
    """Return the digest of each tag of a repository."""
    with open_repository(server.host, repository, Credentials(), Proc(0)) as there:
        found = {tag: there.manifest(tag) for tag in there.tags()}
    return {tag: manifest for tag, manifest in found.items() if manifest}


def digests(server: RegistryServer, repository: str) -> dict[str, str]:
    return {tag: manifest.digest for tag, manifest in manifests(server, repository).items()}


async def test_published_function_runs(workshop: Workshop, project: Path, registry: RegistryServer) -> None:
    """Built, published, then called by the newest of its tags, from a registry that knew nothing of it."""
    target = f"{registry.host}/group/hello"
    show = {"name": "show", "script": "echo '${{ steps.publish.outputs.ref }} ${{ steps.publish.outputs.tags }}'"}
    steps = run_list(build(), publish(target), show, {"name": "run", "func": f"{target}:1"})
    lines = await workshop.output(steps)
    digest = lines[0].split()[-1]
    assert lines[1:] == [
        f"published {target}@{digest} as 1.2.3, 1.2, 1, latest",
        f'{target}:1.2.3 ["1.2.3", "1.2", "1", "latest"]',
        "hello from the registry",
    ]
    assert digests(registry, "group/hello") == dict.fromkeys(["1.2.3", "1.2", "1", "latest"], digest)


def test_older_version_leaves_tags_of_newer_ones(
    project: Path, registry: RegistryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    found = {version: publish_directly(version, f"{registry.host}/versions").digest for version in VERSIONS}
    assert digests(registry, "versions") == {
        **found,
        "1": found["1.3.0"],
        "1.2": found["1.2.4"],
        "1.3": found["1.3.0"],
        "2": found["2.0.0"],
        "2.0": found["2.0.0"],
        "latest": found["2.0.0"],
    }


def test_published_version_may_be_repeated_but_not_replaced(
    project: Path, registry: RegistryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A retried job publishes what it has built before; a version never gets another content."""
    monkeypatch.chdir(project)
    target = f"{registry.host}/again"
    first = publish_directly("1.2.3", target)
    assert oci_publish(Path("function-image.tar"), target) == first
    (project / "text").write_text("another content\n")
    with pytest.raises(
        InputError, match=r"again:1\.2\.3: another image is published as this version; raise the version"
    ):
        publish_directly("1.2.3", target)
    assert set(digests(registry, "again").values()) == {first.digest}


def test_interrupted_publication_may_be_repeated_with_changes(
    project: Path, registry: RegistryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version counts as published when it has its own tag, which is written last."""
    monkeypatch.chdir(project)
    target = f"{registry.host}/broken"
    put_manifest = ImageRepository.put_manifest

    def refuse_latest(repository: ImageRepository, reference: str, manifest: Manifest) -> None:
        if reference == "latest":
            raise FetchError("the registry has a fault")
        put_manifest(repository, reference, manifest)

    with monkeypatch.context() as patch:
        patch.setattr(ImageRepository, "put_manifest", refuse_latest)
        with pytest.raises(FetchError, match="the registry has a fault"):
            publish_directly("1.2.3", target)
    (project / "text").write_text("another content\n")
    published = publish_directly("1.2.3", target)
    assert set(digests(registry, "broken").values()) == {published.digest}


def publish_directly(version: str, target: str) -> Published:
    """Build in the current directory and publish, without a job."""
    inputs = build(version)["inputs"]
    built = oci_build(**arguments(oci_build, inputs))
    return oci_publish(Path(built.archive), target)


class Recorded:
    """A repository, and the digests of the blobs that were sent to it."""

    def __init__(self, repository: ImageRepository) -> None:
        self.sent: list[str] = []
        self._repository = repository

    def __getattr__(self, name: str) -> Any:
        return getattr(self._repository, name)

    def upload_blob(self, content: IO[bytes], size: int, digest: str) -> None:
        self.sent.append(digest)
        self._repository.upload_blob(content, size, digest)


def push_archive(path: Path, server: RegistryServer, repository: str, tag: str) -> list[str]:
    """Push an archive; returns the digests of the blobs that were sent."""
    with (
        open_archive(path) as images,
        open_repository(server.host, repository, Credentials(), Proc(0)) as there,
    ):
        recorded = Recorded(there)
        push(images, images.contents()[0], cast("ImageRepository", recorded), [tag])
    return recorded.sent


async def test_blob_is_sent_once(workshop: Workshop, project: Path, registry: RegistryServer) -> None:
    """Two platforms share their files and differ in the config; the next version differs in one file."""
    platforms: dict[str, dict[str, Any]] = {"linux/amd64": {}, "linux/arm64": {}}
    await workshop.output(run_list(build("1.0.0", **platforms)))
    first = push_archive(project / "function-image.tar", registry, "blobs", "1.0.0")
    assert len(first) == len(set(first)) == 3 + 2
    assert push_archive(project / "function-image.tar", registry, "blobs", "again") == []
    (project / "text").write_text("another content\n")
    await workshop.output(run_list(build("1.0.1", **platforms)))
    assert len(push_archive(project / "function-image.tar", registry, "blobs", "1.0.1")) == 1 + 2


async def test_publication_uses_credentials_of_docker_auth(
    workshop: Workshop, project: Path, closed_registry: RegistryServer
) -> None:
    """The password comes from a masked variable; without it the registry is closed, and the log says so."""
    target = f"{closed_registry.host}/published"
    await workshop.error(run_list(build(), publish(target)))
    assert "the registry asks for credentials (HTTP 401); set DOCKER_AUTH_CONFIG in" in workshop.log()
    login = call("docker/auth", registry=closed_registry.host, username="ada", password="${{ vars.PASSWORD }}")
    run = {"name": "run", "func": f"{target}:1.2.3"}
    variables = {"PASSWORD": Secret("hunter2")}
    lines = await workshop.output(run_list(login, build(), publish(target), run), variables=variables)
    assert lines[-1] == "hello from the registry"
    assert "hunter2" not in workshop.log()


@pytest.mark.parametrize(
    ("archive", "to", "message"),
    [
        ("none.tar", "{host}/x", "none.tar: no such file or directory; build the image first"),
        ("text", "{host}/x", "text: is not an image archive; build it again"),
        ("empty.tar", "{host}/x", "empty.tar: it has no index.json; build it again"),
        ("other.tar", "{host}/x", "other.tar: must hold one image, with its version; build it with function/oci/build"),
        ("lost.tar", "{host}/x", "lost.tar: it has no blobs/sha256/" + 64 * "0" + "; build it again"),
        ("text", "group/x", '"group/x" does not name a registry; write HOST/PATH, such as registry.example.com/name'),
        ("text", "{host}/Group", '"Group" is not a valid repository name; use lower-case letters and digits with'),
        ("text", "{host}", '"" is not a valid repository name; use lower-case letters and digits with'),
    ],
    ids=["missing", "no archive", "empty", "without version", "without blobs", "no registry", "upper case", "no path"],
)
def test_invalid_publication_is_reported(
    project: Path, registry: RegistryServer, monkeypatch: pytest.MonkeyPatch, archive: str, to: str, message: str
) -> None:
    entry = {"digest": "sha256:" + 64 * "0", "annotations": {"org.opencontainers.image.ref.name": "1.0.0"}}
    write_tar(project / "empty.tar", {})
    write_tar(project / "other.tar", {"index.json": json.dumps({"manifests": []})})
    write_tar(project / "lost.tar", {"index.json": json.dumps({"manifests": [entry]})})
    monkeypatch.chdir(project)
    with pytest.raises(InputError) as raised:
        oci_publish(Path(archive), to.format(host=registry.host))
    assert str(raised.value).startswith(message)


def write_tar(path: Path, files: dict[str, str]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))


async def test_damaged_archive_is_not_published(workshop: Workshop, project: Path, registry: RegistryServer) -> None:
    """A blob with another content than its digest says is refused by the registry, before any tag is written."""
    await workshop.output(run_list(build()))
    damaged = (project / "function-image.tar").read_bytes().replace(b"rootfs", b"toorfs")
    (project / "function-image.tar").write_bytes(damaged)
    steps = run_list(call("function/oci/publish", archive="function-image.tar", to_repository=f"{registry.host}/bad"))
    await workshop.error(steps)
    assert 'Error: "function/oci/publish": ' in workshop.log()
    assert digests(registry, "bad") == {}


async def test_older_build_pushes_and_older_fetch_brings_its_image(
    workshop: Workshop, project: Path, registry: RegistryServer
) -> None:
    """Its map of files is the other way round: from the source to the place."""
    where = {"registry": registry.host, "repository": "older", "tag": "mine"}
    files = {"files": {"func.yml": "func.yml", "hello": "bin/hello", "text": "text"}}
    built = {**call("step/oci/build", **where, common=files, platforms={str(HERE): {}}), "name": "built"}
    fetched = {**call("step/oci/fetch", **where, step_path="bin"), "name": "fetched"}
    outputs = "${{ steps.built.outputs.ref }} ${{ steps.built.outputs.digest }} ${{ steps.fetched.outputs.ref }}"
    show = {"name": "show", "script": f"echo '{outputs}'; ls ${{{{ steps.fetched.outputs.fetched_step_path }}}}"}
    run = {"name": "run", "func": f"{registry.host}/older:mine"}
    lines = await workshop.output(run_list(built, fetched, show, run))
    digest = digests(registry, "older")["mine"]
    parts = {"algorithm": "sha256", "hash": digest.removeprefix("sha256:"), "value": digest}
    ref = f"{registry.host}/older:mine"
    assert lines == [
        "step/oci/build is deprecated: use function/oci/build and function/oci/publish",
        f'step/oci/fetch is deprecated: use "{ref}" as the function',
        f"{ref} {json.dumps(parts)} {ref}",
        "hello",
        "hello from the registry",
    ]
    await workshop.error(run_list(built))
    assert workshop.log().endswith(f"image already published: {ref}\n")


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"repository": "../../admin?x="}, "is not a valid repository name"),
        ({"registry": "{host}/.."}, "is not a valid repository name"),
        ({"tag": "../../x"}, "is neither a tag nor a digest"),
    ],
)
async def test_older_fetch_requests_only_images(
    workshop: Workshop, registry: RegistryServer, wrong: dict[str, str], reason: str
) -> None:
    where = {"registry": registry.host, "repository": "x", "tag": "1"}
    wrong = {name: text.format(host=registry.host) for name, text in wrong.items()}
    await workshop.error(run_list(call("step/oci/fetch", **{**where, **wrong})))
    assert reason in workshop.log()


async def test_older_promote_copies_image_with_its_digest(
    workshop: Workshop, project: Path, registry: RegistryServer
) -> None:
    """The source may be an index or a single image, named by its tag or its digest."""
    source = f"{registry.host}/staging"
    await workshop.output(run_list(build(), publish(source)))
    digest = digests(registry, "staging")["1.2.3"]
    (image,) = json.loads(manifests(registry, "staging")["1.2.3"].content)["manifests"]
    to = {"to_registry": registry.host, "to_repository": "released"}
    await workshop.output(
        run_list(
            call("step/oci/promote", from_image=f"{source}:1.2.3", to_version="3.5.0", **to),
            call("step/oci/promote", from_image=f"{source}@{image['digest']}", to_version="3.5.1-rc1", **to),
        )
    )
    assert digests(registry, "released") == {
        **dict.fromkeys(["3.5.0", "3.5", "3", "latest"], digest),
        "3.5.1-rc1": image["digest"],
    }


@pytest.mark.parametrize(
    ("image", "version", "message"),
    [
        ("{host}/staging", "1.0.0", '"{host}/staging" must specify tag or digest, such as registry.example.com/'),
        ("{host}/none:1", "1.0.0", "{host}/none:1: the image does not exist; check its name and tag"),
        ("{host}/none:1", "1.0", 'version does not conform to semantic versioning major.minor.patch[-release]: "1.0"'),
    ],
    ids=["no tag", "no image", "no version"],
)
def test_invalid_promotion_is_reported(registry: RegistryServer, image: str, version: str, message: str) -> None:
    with pytest.raises(InputError) as raised:
        compatibility.promote(image.format(host=registry.host), "registry.example.com", "x", version)
    assert str(raised.value).startswith(message.format(host=registry.host))


async def test_cancel_ends_publication_without_answer(workshop: Workshop, project: Path) -> None:
    connected = asyncio.Event()
    writers: list[asyncio.StreamWriter] = []

    def accept(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        connected.set()

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as silent:
        _, port = silent.sockets[0].getsockname()
        running = asyncio.create_task(workshop.run(run_list(build(), publish(f"127.0.0.1:{port}/silent"))))
        waiting = asyncio.create_task(connected.wait())
        await asyncio.wait([running, waiting], return_when=asyncio.FIRST_COMPLETED)
        workshop.proc.cancel()
        outcome = await running
        waiting.cancel()
        for writer in writers:
            writer.close()
    assert outcome.result is not None
    assert outcome.result.status is Status.CANCELLED
    assert not workshop.stopped[0][1].forced
