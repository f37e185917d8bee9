"""`builtin://function/oci/build`: the archive that it makes."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import re
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.steps import run_list

from step_runner.builtin.oci import oci_build
from step_runner.builtin.signature import arguments
from step_runner.errors import InputError
from step_runner.model import Status

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from tests.runner.conftest import Workshop

LAYER = "application/vnd.gitlab.step.layer.v1.tar+zstd"
INPUTS: dict[str, Any] = {
    "version": "1.2.3",
    "common": {"files": {"func.yml": "func.yml"}},
    "platforms": {"linux/amd64": {"files": {"bin": "out/amd64"}}, "linux/arm64": {"files": {"bin": "out/arm64"}}},
}


class Archive:
    """The archive as a reader of image layouts sees it; each blob has the digest that it is named after."""

    def __init__(self, path: Path) -> None:
        with tarfile.open(path) as archive:
            self.members = archive.getmembers()
            self.files = {member.name: read(archive, member) for member in self.members}
        blobs = {name.removeprefix("blobs/sha256/"): content for name, content in self.files.items() if "/" in name}
        assert all(hashlib.sha256(content).hexdigest() == name for name, content in blobs.items())

    def document(self, descriptor: dict[str, Any]) -> Any:
        return json.loads(self.blob(descriptor))

    def blob(self, descriptor: dict[str, Any]) -> bytes:
        content = self.files["blobs/" + descriptor["digest"].replace(":", "/")]
        assert len(content) == descriptor["size"]
        return content

    def top(self) -> dict[str, Any]:
        (entry,) = json.loads(self.files["index.json"])["manifests"]
        assert isinstance(entry, dict)
        return entry

    def images(self) -> list[dict[str, Any]]:
        images = self.document(self.top())["manifests"]
        assert isinstance(images, list)
        return images

    def layers(self, image: dict[str, Any]) -> list[list[tuple[str, int, str]]]:
        """The name, the mode and the text of each file, by layer."""
        return [unpacked(self.blob(layer)) for layer in self.document(image)["layers"]]


def read(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    return file.read() if file else b""


def unpacked(layer: bytes) -> list[tuple[str, int, str]]:
    with tarfile.open(fileobj=io.BytesIO(zstd.decompress(layer))) as archive:
        return [(member.name, member.mode, read(archive, member).decode()) for member in archive]


@pytest.fixture
def project(workshop: Workshop) -> Path:
    """A function with a program for each of two platforms, in the work dir."""
    root = workshop.work_dir
    (root / "func.yml").write_text("spec: {}\n---\nexec:\n  command: ['${{ func_dir }}/bin/hello']\n")
    for platform in ("amd64", "arm64"):
        (root / "out" / platform).mkdir(parents=True)
        (root / "out" / platform / "hello").write_text(f"#!/bin/sh\necho hello from {platform}\n")
        (root / "out" / platform / "hello").chmod(0o755)
    return root


def build(**inputs: Any) -> dict[str, Any]:
    return {"name": "build", "func": "builtin://function/oci/build", "inputs": {**INPUTS, **inputs}}


async def test_archive_has_image_for_each_platform(workshop: Workshop, project: Path) -> None:
    show = {"name": "show", "script": "echo ${{ steps.build.outputs.archive }} ${{ steps.build.outputs.digest }}"}
    lines = await workshop.output(run_list(build(), show), env={"SOURCE_DATE_EPOCH": "1700000000"})
    archive = Archive(project / "function-image.tar")
    digest = archive.top()["digest"]
    assert lines == [
        f"built function-image.tar: version 1.2.3, linux/amd64, linux/arm64, {digest}",
        f"function-image.tar {digest}",
    ]
    assert json.loads(archive.files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    assert archive.top()["annotations"] == {"org.opencontainers.image.ref.name": "1.2.3"}
    index = archive.document(archive.top())
    created = {"org.opencontainers.image.created": "2023-11-14T22:13:20Z"}
    assert (index["mediaType"], index["annotations"]) == ("application/vnd.oci.image.index.v1+json", created)
    for image, platform in zip(archive.images(), ("amd64", "arm64"), strict=True):
        assert image["platform"] == {"os": "linux", "architecture": platform}
        manifest = archive.document(image)
        assert manifest["annotations"] == created
        assert {layer["mediaType"] for layer in manifest["layers"]} == {LAYER}
        assert archive.layers(image) == [
            [("func.yml", 0o644, (project / "func.yml").read_text())],
            [("bin", 0o755, ""), ("bin/hello", 0o755, f"#!/bin/sh\necho hello from {platform}\n")],
        ]
        config = archive.document(manifest["config"])
        plain = [hashlib.sha256(zstd.decompress(archive.blob(layer))).hexdigest() for layer in manifest["layers"]]
        assert config == {
            "os": "linux",
            "architecture": platform,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{one}" for one in plain]},
        }


async def test_same_files_make_same_bytes(workshop: Workshop, project: Path) -> None:
    env = {"SOURCE_DATE_EPOCH": "1700000000"}
    await workshop.output(run_list(build()), env=env)
    first = (project / "function-image.tar").read_bytes()
    (project / "func.yml").touch()
    (project / "out" / "amd64" / "hello").chmod(0o700)
    await workshop.output(run_list(build()), env=env)
    assert (project / "function-image.tar").read_bytes() == first


async def test_image_time_defaults_to_time_of_build(workshop: Workshop, project: Path) -> None:
    await workshop.output(run_list(build()))
    archive = Archive(project / "function-image.tar")
    (created,) = archive.document(archive.top())["annotations"].values()
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", created)


async def test_platform_may_have_more_properties(workshop: Workshop, project: Path) -> None:
    described = {"variant": "v7", "features": ["sse4"], "os.version": "10.0", "os.features": ["win32k"]}
    await workshop.output(run_list(build(platforms={"linux/arm": described, "generic": {}, "linux/aarch64": {}})))
    images = Archive(project / "function-image.tar").images()
    assert [image["platform"] for image in images] == [
        {"os": "linux", "architecture": "arm", **described},
        {"os": "generic", "architecture": "generic"},
        {"os": "linux", "architecture": "arm64"},
    ]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"version": "v1"}, 'version does not conform to semantic versioning major.minor.patch[-release]: "v1"'),
        ({"platforms": {}}, 'must have at least one platform, such as "linux/amd64" or "generic"'),
        ({"platforms": {"linux": {}}}, 'invalid platform "linux"; write os/architecture, such as "linux/amd64", or'),
        (
            {"platforms": {"linux/arm64": {}, "linux/aarch64": {}}},
            'the platform of "linux/aarch64" is given twice; leave out one of its names',
        ),
        (
            {"common": {"file": {}}},
            'input "common" is of another type than declared: object contains unknown field `file`',
        ),
        (
            {"common": {"files": {"a": 5}}},
            'input "common" is of another type than declared: expected `str`, got `int` - at `$.files[...]`',
        ),
        ({"common": {"files": {"a": "none"}}}, "{root}/none: no such file or directory; sources are relative to"),
    ],
    ids=["version", "no platform", "half a platform", "twice", "unknown key", "no path", "missing file"],
)
def test_invalid_build_is_reported_and_leaves_no_archive(
    project: Path, monkeypatch: pytest.MonkeyPatch, inputs: dict[str, Any], message: str
) -> None:
    monkeypatch.chdir(project)
    with pytest.raises(InputError) as raised:
        oci_build(**arguments(oci_build, {**INPUTS, **inputs}))
    assert str(raised.value).startswith(message.format(root=project))
    assert sorted(os.listdir(project)) == ["func.yml", "out"]


@pytest.mark.parametrize("time", ["today", "1" + 30 * "0"])
def test_invalid_time_is_refused(project: Path, monkeypatch: pytest.MonkeyPatch, time: str) -> None:
    monkeypatch.chdir(project)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", time)
    with pytest.raises(InputError, match=f'SOURCE_DATE_EPOCH is "{time}"; give a number of seconds since 1970'):
        oci_build(**arguments(oci_build, INPUTS))


async def test_unwritable_archive_is_reported(workshop: Workshop, project: Path) -> None:
    (project / "function-image.tar").mkdir()
    await workshop.error(run_list(build()))
    assert "function-image.tar: cannot be written: is a directory" in workshop.log()
    assert sorted(os.listdir(project)) == ["func.yml", "function-image.tar", "out"]


async def test_cancelled_build_leaves_nothing(workshop: Workshop, project: Path, temporary: str) -> None:
    """Neither half an archive nor the blobs that were made for it; a file of 1 TiB takes long enough."""
    with (project / "func.yml").open("wb") as endless:
        endless.truncate(1 << 40)
    running = asyncio.create_task(workshop.run(run_list(build())))
    while not list(Path(temporary).glob("step-runner-image-*/*")) and not running.done():  # noqa: ASYNC110, ASYNC240
        await asyncio.sleep(0.01)
    workshop.proc.cancel()
    outcome = await running
    assert outcome.result is not None
    assert outcome.result.status is Status.CANCELLED
    assert not workshop.stopped[0][1].forced
    assert sorted(os.listdir(project)) == ["func.yml", "out"]
    assert not [name for name in os.listdir(temporary) if name.startswith("step-runner-image-")]
