"""Checkouts: the files of a commit, written to a directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from dulwich.object_store import DiskObjectStore
from dulwich.objects import Blob, Commit, Tree

from step_runner.errors import FetchError, StoppedError
from step_runner.fetch.git.checkout import Checkout, TreeError
from step_runner.fetch.git.client import Stored
from step_runner.fetch.limits import Limits
from step_runner.proc import Proc

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fetch.conftest import FetchCache, Project


def store_with(directory: Path, *entries: tuple[bytes, int, bytes]) -> tuple[Stored, str]:
    """Return a store with one commit of these files (name, mode, content), and the hash of the commit."""
    store, tree, commit = DiskObjectStore.init(f"{directory}.git"), Tree(), Commit()
    for name, mode, content in entries:
        blob = Blob.from_string(content)
        store.add_object(blob)
        tree.add(name, mode, blob.id)
    commit.tree = tree.id
    commit.author = commit.committer = b"Ada <ada@example.com>"
    commit.author_time = commit.commit_time = commit.author_timezone = commit.commit_timezone = 0
    commit.message = b"files"
    store.add_object(tree)
    store.add_object(commit)
    return Stored(store, Proc(0)), commit.id.decode()


def test_non_utf8_name_is_kept(tmp_path: Path, proc: Proc) -> None:
    store, commit = store_with(tmp_path, (b"caf\xe9", 0o100644, b"content"))
    Checkout(tmp_path, proc, Limits()).write(store, commit)

    assert [bytes(path) for path in tmp_path.iterdir()] == [bytes(tmp_path) + b"/caf\xe9"]


@pytest.mark.parametrize("mode", [0o104755, 0o102755, 0o100777], ids=oct)
def test_checkout_keeps_only_the_executable_bit(tmp_path: Path, proc: Proc, mode: int) -> None:
    store, commit = store_with(tmp_path, (b"run", mode, b""))
    Checkout(tmp_path, proc, Limits()).write(store, commit)

    assert (tmp_path / "run").stat().st_mode & 0o7722 == 0o700 & 0o7722
    assert (tmp_path / "run").stat().st_mode & 0o100


def test_device_is_refused(tmp_path: Path, proc: Proc) -> None:
    store, commit = store_with(tmp_path, (b"disk", 0o060644, b""))

    with pytest.raises(TreeError, match="'disk' has the unknown mode 60644"):
        Checkout(tmp_path, proc, Limits()).write(store, commit)


def test_existing_file_is_not_overwritten(tmp_path: Path, proc: Proc) -> None:
    """On a file system that ignores case, two names of a commit can mean the same file."""
    store, commit = store_with(tmp_path, (b"file", 0o100644, b"new"))
    (tmp_path / "file").write_text("old")

    with pytest.raises(TreeError, match="'file' occurs twice, perhaps with other capital letters"):
        Checkout(tmp_path, proc, Limits()).write(store, commit)
    assert (tmp_path / "file").read_text() == "old"


def test_existing_file_is_not_replaced_by_link(tmp_path: Path, proc: Proc) -> None:
    store, commit = store_with(tmp_path, (b"file", 0o120000, b"elsewhere"))
    (tmp_path / "file").write_text("old")
    checkout = Checkout(tmp_path, proc, Limits())
    checkout.write(store, commit)

    with pytest.raises(TreeError, match="'file' occurs twice"):
        checkout.finish()


def test_cancel_ends_making_of_links(tmp_path: Path, proc: Proc) -> None:
    store, commit = store_with(tmp_path, (b"link", 0o120000, b"target"))
    checkout = Checkout(tmp_path, proc, Limits())
    checkout.write(store, commit)
    proc.cancel()

    with pytest.raises(StoppedError):
        checkout.finish()
    assert list(tmp_path.iterdir()) == []


def test_cancel_ends_writing_of_files(tmp_path: Path, proc: Proc) -> None:
    store, commit = store_with(tmp_path, (b"file", 0o100644, b"new"))
    proc.cancel()

    with pytest.raises(StoppedError):
        Checkout(tmp_path, proc, Limits()).write(store, commit)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("mode", "name"),
    [
        ("100644", ".."),
        ("100644", "."),
        ("100644", ".git"),
        ("100644", ".GIT"),
        ("100644", ".git "),
        ("100644", "git~1"),
        ("100644", ".g\u200cit"),
        ("100644", "../outside"),
        ("100644", "/tmp/step-runner-outside"),
        ("100644", "a/b"),
        ("160000", ".git"),
        ("120000", ".GIT"),
    ],
)
def test_name_outside_the_checkout_is_refused(
    url: str, project: Project, cache: FetchCache, mode: str, name: str
) -> None:
    project.commit_tree((mode, name, "0" * 40 if mode == "160000" else "target"))

    with pytest.raises(FetchError, match=r"is a forbidden name; it is refused, correct it in the repository$"):
        cache.fetch(url, "main")

    assert cache.entries() == []


@pytest.mark.parametrize("target", ["..", "/etc/passwd", "../../x", "sub/../../x", "sub/to-root/../x", "none/../../x"])
def test_link_out_of_the_checkout_is_refused(project: Project, cache: FetchCache, target: str) -> None:
    (project.directory / "sub").mkdir()
    (project.directory / "sub/to-root").symlink_to("..")
    (project.directory / "out").symlink_to(target)
    project.commit({"sub/file": ""})

    with pytest.raises(FetchError, match=r"the symbolic link 'out' leads out of the repository, to "):
        cache.fetch(project.directory.as_uri(), "main")

    assert cache.entries() == []


def test_link_within_the_checkout_is_kept(project: Project, cache: FetchCache) -> None:
    links = {"a": "steps/../run.sh", "steps/up": "..", "round": "round", "gone": "missing/file"}
    for name, target in links.items():
        (project.directory / name).symlink_to(target)
    project.commit({})
    directory = cache.fetch(project.directory.as_uri(), "main")

    assert {name: str((directory / name).readlink()) for name in links} == links


def test_checkout_writes_no_file_through_link_of_same_name(project: Project, cache: FetchCache, tmp_path: Path) -> None:
    """A tree may hold a name twice: as a link to another directory, and as a directory with files."""
    inner = project.git("rev-parse", "HEAD:steps")
    project.commit_tree(("120000", "x", str(tmp_path)), ("40000", "x", inner))

    assert (cache.fetch(project.directory.as_uri(), "main") / "x/hello/step.yml").exists()
    assert not (tmp_path / "hello").exists()
