"""The function cache: one caller makes each directory, once, completely or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from step_runner.errors import FetchError, StoppedError
from step_runner.fetch.cache import Cache, encoded
from step_runner.proc import Proc

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.fetch.conftest import FetchCache

KEY = ("kind", "name")


def write_hello(directory: Path, scratch: Path) -> None:
    (scratch / "temporary").write_text("")
    (directory / "file").write_text("hello")


def fail(directory: Path, scratch: Path) -> None:
    (directory / "file").write_text("half")
    raise FetchError("no network")


def refuse(directory: Path, scratch: Path) -> None:
    raise AssertionError("made a second time")


def test_cache_makes_directory_once(cache: Cache, proc: Proc) -> None:
    made = cache.get(KEY, write_hello, proc)

    assert (made / "file").read_text() == "hello"
    assert [path.name for path in made.iterdir()] == ["file"]
    assert cache.get(KEY, refuse, proc) == made
    assert cache.find(KEY) == made


def test_missing_cache_holds_nothing(cache: Cache, tmp_path: Path) -> None:
    assert cache.find(KEY) is None
    assert list(tmp_path.iterdir()) == []


def test_failed_fetch_leaves_nothing_in_cache(cache: Cache, proc: Proc, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"^no network$"):
        cache.get(KEY, fail, proc)

    assert cache.find(KEY) is None
    assert list((tmp_path / "cache/partial").iterdir()) == []
    assert (cache.get(KEY, write_hello, proc) / "file").read_text() == "hello"


def test_cancel_at_end_of_making_leaves_nothing(cache: FetchCache, proc: Proc) -> None:
    def make(directory: Path, scratch: Path) -> None:
        write_hello(directory, scratch)
        proc.cancel()

    with pytest.raises(StoppedError):
        cache.get(KEY, make, proc)

    assert cache.entries() == []


@pytest.mark.parametrize("umask", [0, 0o022], ids=oct)
def test_cache_excludes_other_users(cache: Cache, proc: Proc, tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        cache.get(KEY, write_hello, proc)
    finally:
        os.umask(before)

    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "cache", *(tmp_path / "cache").glob("*"))}
    assert modes == {0o700}


@pytest.mark.parametrize("mode", [0o770, 0o757, 0o777], ids=oct)
def test_cache_root_writable_by_others_is_refused(cache: Cache, proc: Proc, tmp_path: Path, mode: int) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(mode)
    message = (
        f"the function cache {tmp_path}/cache can be written by other users;"
        " remove it, or set XDG_CACHE_HOME to a directory of your own"
    )

    with pytest.raises(FetchError) as finding:
        cache.find(KEY)
    with pytest.raises(FetchError) as making:
        cache.get(KEY, write_hello, proc)

    assert [str(finding.value), str(making.value)] == [message, message]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory to another user")
def test_cache_root_of_another_user_is_refused(cache: Cache, proc: Proc, tmp_path: Path) -> None:
    cache.get(KEY, write_hello, proc)
    os.chown(tmp_path / "cache", 12345, -1)

    with pytest.raises(FetchError, match=r"cache belongs to user 12345, not to 0; remove it, or set XDG_CACHE_HOME"):
        cache.find(KEY)


def test_cache_root_that_is_a_link_is_refused(cache: Cache, proc: Proc, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "cache").symlink_to("elsewhere")

    with pytest.raises(FetchError, match="is not a directory; remove it"):
        cache.get(KEY, write_hello, proc)


def test_uncreatable_cache_root_is_explained(tmp_path: Path, proc: Proc) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(
        FetchError, match=r"^the function cache cannot use .*/file/cache: not a directory; make room there, or"
    ):
        Cache(tmp_path / "file/cache").get(KEY, write_hello, proc)


def test_cache_note_is_kept_and_replaced(cache: Cache, tmp_path: Path) -> None:
    assert cache.note(KEY) == ""
    assert not (tmp_path / "cache").exists()
    cache.keep_note(KEY, "one")
    cache.keep_note(KEY, "two")

    assert cache.note(KEY) == "two"
    assert cache.note(("other",)) == ""
    assert [path.name for path in (tmp_path / "cache/notes").iterdir()] == [encoded(KEY)]


# Keys


@pytest.mark.parametrize(
    "part", ["..", ".", "", "/etc/passwd", "../../x", "a/b", "A", "a b", "\0", "\udc80", "x" * 5000, "é", "~", "@", "_"]
)
def test_cache_key_never_leaves_root(part: str) -> None:
    name = encoded(("git", part))

    assert name.startswith("git@")
    assert len(name) <= 200
    assert not set(name) - set("abcdefghijklmnopqrstuvwxyz0123456789-._@~")


def test_different_cache_keys_have_different_names() -> None:
    keys = [
        ("a", "b"),
        ("a@b",),
        ("a_40b",),
        ("A", "b"),
        ("a" * 300,),
        ("a" * 301,),
        (".a",),
        ("_2ea",),
        ("", "ab"),
        ("ab", ""),
    ]

    assert len({encoded(key) for key in keys}) == len(keys)


def test_many_threads_make_one_directory(cache: Cache) -> None:
    made: list[int] = []

    def make(directory: Path, scratch: Path) -> None:
        made.append(1)
        write_hello(directory, scratch)

    with ThreadPoolExecutor(20) as pool:
        found = set(pool.map(lambda _: cache.get(KEY, make, Proc(0)), range(40)))

    assert len(found) == len(made) == 1


def test_different_keys_are_made_at_the_same_time(cache: Cache) -> None:
    both = threading.Barrier(2, timeout=10)

    def make(directory: Path, scratch: Path) -> None:
        both.wait()

    with ThreadPoolExecutor(2) as pool:
        assert len(list(pool.map(lambda name: cache.get((name,), make, Proc(0)), "ab"))) == 2


HOLDER = """
import sys
from step_runner.fetch.cache import Cache
from step_runner.proc import Proc

def make(directory, scratch):
    (directory / "half").write_text("half")
    print("half made", flush=True)
    sys.stdin.readline()

Cache(sys.argv[1]).get(("kind", "name"), make, Proc(0))
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Yield a process that is making the directory of KEY, until a line is written to its stdin."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "cache")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "half made\n"
        yield process
        process.kill()


def test_waiting_process_gets_directory_made_by_another(
    cache: Cache, proc: Proc, holder: subprocess.Popen[str]
) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(cache.get, KEY, refuse, proc)
        holder.communicate("go on\n")
        assert (waiting.result(10) / "half").exists()


def test_cancel_ends_waiting_for_another_process(cache: Cache, proc: Proc, holder: subprocess.Popen[str]) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(cache.get, KEY, refuse, proc)
        proc.cancel()
        with pytest.raises(StoppedError):
            waiting.result(10)
    holder.communicate("go on\n")
    assert cache.find(KEY)


@pytest.mark.parametrize("key", [KEY, ("other",)], ids=["same key", "other key"])
def test_unfinished_directory_of_dead_process_is_removed(
    cache: Cache, proc: Proc, holder: subprocess.Popen[str], tmp_path: Path, key: tuple[str, ...]
) -> None:
    holder.kill()
    holder.communicate()
    made = cache.get(key, write_hello, proc)

    assert [path.name for path in made.iterdir()] == ["file"]
    assert list((tmp_path / "cache/partial").iterdir()) == []


def test_unfinished_directory_of_live_process_is_kept(cache: Cache, proc: Proc, holder: subprocess.Popen[str]) -> None:
    cache.get(("other",), write_hello, proc)
    holder.communicate("go on\n")

    made = cache.find(KEY)
    assert made
    assert (made / "half").exists()
