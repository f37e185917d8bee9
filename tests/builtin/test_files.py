"""Which files go into an image, and where to."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from step_runner.builtin.files import Member, members, placed
from step_runner.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path


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


def all_members(tree: Path, files: dict[str, str]) -> list[Member]:
    return [member for one in placed(files) for member in members(one, tree)]


def test_file_has_its_directories_before_it(tree: Path) -> None:
    """Of its mode only the executable bit is kept: the rest is the umask of whoever checked it out."""
    assert all_members(tree, {"bin/linux/t": "tool", "README": "text"}) == [
        Member("bin"),
        Member("bin/linux"),
        Member("bin/linux/t", 0o755, tree / "tool"),
        Member("README", 0o644, tree / "text"),
    ]


def test_directory_comes_with_all_that_is_in_it_in_the_order_of_names(tree: Path) -> None:
    assert [member.place for member in all_members(tree, {"d": "full", "e": "empty"})] == [
        "d",
        "d/a",
        "d/b",
        "d/b/x",
        "e",
    ]


def test_directory_can_become_the_root_of_the_image(tree: Path) -> None:
    assert [member.place for member in all_members(tree, {".": "full"})] == ["a", "b", "b/x"]


@pytest.mark.parametrize(
    ("destination", "place"),
    [(" a ", "a"), ("/a", "a"), ("a//b/", "a/b"), ("./a", "a"), ("a/../b", "b")],
)
def test_destination_is_cleaned(tree: Path, destination: str, place: str) -> None:
    assert all_members(tree, {destination: " ./text "})[-1] == Member(place, 0o644, tree / "text")


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
def test_what_cannot_be_in_an_image_is_refused(
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
