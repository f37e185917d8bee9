"""The key that seals ledgers: its places, and the keys that are not trusted."""

from __future__ import annotations

import os
import pwd
import stat
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from step_runner import private
from step_runner.jobs import ledger_key

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no ledger is kept there")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the home directory in the user database; there is no session directory."""
    directory = tmp_path / "home"
    directory.mkdir()
    monkeypatch.setattr(pwd, "getpwuid", lambda _uid: SimpleNamespace(pw_dir=str(directory)))
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setattr(ledger_key, "_last", None)
    return directory


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the directory of a login session."""
    directory = tmp_path / "session"
    directory.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(directory))
    return directory


@pytest.fixture
def ordinary(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the places of keys that only root has."""
    monkeypatch.setattr(ledger_key, "RUN", "/nonexistent")
    monkeypatch.setattr(private, "SESSIONS", "/nonexistent")


def test_key_is_made_once_and_is_private(session: Path) -> None:
    first = ledger_key.usable()[0]
    path = session / "step-runner/ledger.key"
    assert ledger_key.usable()[0] == first == path.read_bytes()
    assert len(first) == 32
    assert [stat.S_IMODE(one.stat().st_mode) for one in (path, path.parent)] == [0o600, 0o700]
    assert os.listdir(path.parent) == ["ledger.key"]


def test_sealing_key_follows_its_file(session: Path) -> None:
    """The key is remembered, but a file that was replaced is read again, and a file that was removed is made again."""
    first = ledger_key.sealing()
    assert first == ledger_key.sealing() == ledger_key.usable()[0]
    path = session / "step-runner/ledger.key"
    new = path.with_name("new")
    new.write_bytes(bytes(32))
    new.chmod(0o600)
    new.rename(path)
    assert ledger_key.sealing() == bytes(32)
    path.unlink()
    assert ledger_key.sealing() == path.read_bytes() != bytes(32)


def test_service_recovers_jobs_without_key_of_session(
    session: Path, ordinary: None, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both read the key of the home directory, whichever of them has sealed with it."""
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    of_service = ledger_key.usable()
    assert (home / ".local/state/step-runner/ledger.key").read_bytes() == of_service[0]
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(session))
    assert of_service[0] in ledger_key.usable()


@pytest.mark.parametrize("spoil", ["mode", "link", "short", "directory", "pipe"])
def test_key_writable_by_others_is_not_used(session: Path, home: Path, ordinary: None, spoil: str) -> None:
    path = session / "step-runner/ledger.key"
    planted = ledger_key.usable()[0]
    match spoil:
        case "mode":
            path.chmod(0o644)
        case "link":
            path.rename(session / "elsewhere")
            path.symlink_to(session / "elsewhere")
        case "short":
            path.write_bytes(planted[:-1])
        case "directory":
            path.parent.chmod(0o777)
        case "pipe":
            path.unlink()
            os.mkfifo(path, 0o600)
        case _:
            raise AssertionError(spoil)
    keys = ledger_key.usable()
    assert planted not in keys
    assert (home / ".local/state/step-runner/ledger.key").read_bytes() == keys[0]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("given", ["", "step-runner", "step-runner/ledger.key"], ids=["session", "directory", "key"])
def test_key_of_another_user_is_not_used(session: Path, ordinary: None, given: str) -> None:
    planted = ledger_key.usable()[0]
    os.chown(session / given, 65534, 65534)
    assert planted not in ledger_key.usable()


def test_key_in_temporary_directory_is_last_resort(home: Path, ordinary: None, temporary: str) -> None:
    """With a better place, a key in this directory is never trusted, even before the first key is made."""
    home.chmod(0o777)
    planted = ledger_key.usable()
    assert (Path(temporary) / f"step-runner-{os.getuid()}/ledger.key").read_bytes() == planted[0]
    home.chmod(0o755)
    assert planted[0] not in ledger_key.usable()


def test_taken_key_name_in_temporary_directory_stops_no_job(home: Path, ordinary: None, temporary: str) -> None:
    """Another user can take the name first. Then the key is not stored, and the other one is not trusted."""
    home.chmod(0o777)
    taken = Path(temporary) / f"step-runner-{os.getuid()}"
    taken.mkdir()
    taken.chmod(0o777)
    (taken / "ledger.key").write_bytes(bytes(32))
    (taken / "ledger.key").chmod(0o600)
    keys = ledger_key.usable()
    assert keys == ledger_key.usable()
    assert [len(key) for key in keys] == [32]
    assert bytes(32) not in keys
