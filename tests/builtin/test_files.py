"""Which files go into an image, and where to."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

import pytest
from tests.builtin.test_oci_build import unpacked

from step_runner.builtin.contents import placed
from step_runner.builtin.layout import Layout
from step_runner.errors import InputError


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A program, a text, an empty directory and one with both."""
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    (tmp_path / "tool").chmod(0o700)
    (tmp_path / "text").write_text("t")
    (tmp_path / "text").chmod(0o600)
    (tmp_path / "empty").mkdir()
    (tmp_path / "full" / "b").mkdir(parents=True)
    (tmp_path / "full" / "b" / "x").write_text("x")
    (tmp_path / "full" / "a").write_text("a")
    return tmp_path


def all_members(tree: Path, files: dict[str, str]) -> list[tuple[str, int, str]]:
    """The name, the mode and the text of all that is in the layers of these files."""
    with tempfile.TemporaryDirectory() as directory:
        layout = Layout(Path(directory), "")
        layers = [layout.layer(place, tree / source) for place, source in placed(files)]
        return [member for layer in layers for member in unpacked(layout.manifest(layer.descriptor["digest"]))]


def test_file_follows_its_directories(tree: Path) -> None:
    """Only the executable bit of its mode is kept: the rest depends on the umask at the checkout."""
    assert all_members(tree, {"bin/linux/t": "tool", "README": "text"}) == [
        ("bin", 0o755, ""),
        ("bin/linux", 0o755, ""),
        ("bin/linux/t", 0o755, "#!/bin/sh\n"),
        ("README", 0o644, "t"),
    ]


def test_directory_comes_with_its_content_in_order_of_names(tree: Path) -> None:
    """A directory adds all its files, directories and links, sorted by name."""
    assert [name for name, _, _ in all_members(tree, {"d": "full", "e": "empty"})] == [
        "d",
        "d/a",
        "d/b",
        "d/b/x",
        "e",
    ]


def test_directory_can_become_root_of_image(tree: Path) -> None:
    assert [name for name, _, _ in all_members(tree, {".": "full"})] == ["a", "b", "b/x"]


@pytest.mark.parametrize(
    ("destination", "place"),
    [(" a ", "a"), ("/a", "a"), ("a//b/", "a/b"), ("./a", "a"), ("a/../b", "b")],
)
def test_destination_is_cleaned(tree: Path, destination: str, place: str) -> None:
    assert all_members(tree, {destination: " ./text "})[-1] == (place, 0o644, "t")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"": "text"}, "empty destination path: give each file a place in the image"),
        ({"a": " "}, 'empty source path: name a file, or "." for all'),
        ({"../a": "text"}, 'the destination "../a" is outside of the image; leave out the ".."'),
        ({"/..": "text"}, 'the destination "/.." is outside of the image; leave out the ".."'),
        ({".": "text"}, '{tree}/text is a file; give it a name in the image, not "."'),
        ({"a": "none"}, "{tree}/none: no such file or directory; sources are relative to the work dir"),
        ({"a": "link"}, "tar: cannot add non-regular file: {tree}/link; only files and directories can be"),
        ({"a": "special"}, "tar: cannot add non-regular file: {tree}/special/pipe; only files and directories can be"),
        ({"a": "listening"}, "tar: cannot add non-regular file: {tree}/listening; only files and directories can be"),
    ],
    ids=[
        "no destination",
        "no source",
        "outside",
        "above the root",
        "a file as root",
        "missing",
        "symlink",
        "pipe in a directory",
        "socket",
    ],
)
def test_unsupported_file_is_refused(
    tree: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], message: str
) -> None:
    (tree / "link").symlink_to("text")
    (tree / "special").mkdir()
    os.mkfifo(tree / "special" / "pipe")
    monkeypatch.chdir(tree)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("listening")
        with pytest.raises(InputError) as raised:
            all_members(tree, files)
    assert str(raised.value).startswith(message.format(tree=tree))


def test_hard_link_becomes_separate_file(tree: Path) -> None:
    os.link(tree / "full" / "a", tree / "full" / "c")
    assert all_members(tree, {"d": "full"})[-1] == ("d/c", 0o644, "a")
