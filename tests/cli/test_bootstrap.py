"""`step-runner bootstrap`; tests/binary has the single file copy itself."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from step_runner.bootstrap import install
from step_runner.errors import InputError

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def frozen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that runs, as in the single file."""
    path = tmp_path / "frozen"
    path.write_text("the program")
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(sys, "executable", str(path))
    return path


@pytest.mark.parametrize(
    ("destination", "made"),
    [
        ("bin/runner", "bin/runner"),
        ("new/deep/", "new/deep/step-runner"),
        ("there", "there/step-runner"),
        ("runner", "runner"),
    ],
    ids=["file", "new directory", "directory that is there", "in the current directory"],
)
def test_destination_may_be_a_file_or_a_directory(
    frozen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, destination: str, made: str
) -> None:
    """Whatever the umask is, all users may read and start the copy."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    umask = os.umask(0o077)
    try:
        install(destination)
    finally:
        os.umask(umask)
    path = tmp_path / made
    assert stat.S_IMODE(path.stat().st_mode) == 0o755
    if path.parent not in (tmp_path, tmp_path / "there"):
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755
    assert path.read_text() == frozen.read_text()
    assert not [name for name in os.listdir(path.parent) if name.startswith(".")]


@pytest.mark.parametrize("names", [("bootstrap",), ("steps", "bootstrap")], ids=" ".join)
def test_bootstrap_refuses_an_installed_package(command: Command, tmp_path: Path, names: tuple[str, ...]) -> None:
    """Only the single file can be copied; the message names the ways to go."""
    ended = command(*names, str(tmp_path))
    assert (ended.returncode, ended.stdout, os.listdir(tmp_path)) == (1, "", [])
    assert ended.stderr == (
        "Error: bootstrap copies the single file that `make binary` makes, and this program is an installed package: "
        "start that file with bootstrap, or install the package at the destination with pip\n"
    )


def test_replaced_file_stays_valid_for_its_readers(frozen: Path, tmp_path: Path) -> None:
    """The file is replaced at once, and never written into."""
    target = tmp_path / "step-runner"
    target.write_text("an old one")
    with target.open() as old:
        for _ in range(2):
            install(str(target))
            assert target.read_text() == frozen.read_text()
        assert old.read() == "an old one"


@pytest.mark.parametrize("arguments", [[], [""]], ids=["missing", "empty"])
def test_missing_destination_is_refused(command: Command, arguments: list[str]) -> None:
    ended = command("bootstrap", *arguments)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == "Error: destination argument must be provided\n"


@pytest.mark.parametrize(
    ("destination", "complaint"),
    [
        ("file/step-runner", "mkdir file: not a directory"),
        ("taken", "taken/step-runner: is a directory: give another destination"),
    ],
    ids=["below a file", "directory in its place"],
)
def test_unusable_destination_is_refused(
    frozen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, destination: str, complaint: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "taken/step-runner").mkdir(parents=True)
    with pytest.raises(InputError) as caught:
        install(destination)
    assert str(caught.value) == complaint


def test_bootstrap_copies_certificates_and_git_too(tmp_path: Path, frozen: Path) -> None:
    root = tmp_path / "root"
    (root / "git/bin").mkdir(parents=True)
    (root / "git/bin/git").write_text("new")
    (root / "git/bin/git").chmod(0o755)
    (root / "git/link").symlink_to("bin/git")
    (root / "ca-certs.pem").write_text("certificate")
    (root / "ca-certs.pem").chmod(0o600)
    (tmp_path / "out/git").mkdir(parents=True)
    (tmp_path / "out/git/old").touch()
    for _ in range(2):
        assert install(f"{tmp_path}/out/", str(root)) == f"{tmp_path}/out/step-runner"
    assert sorted(os.listdir(tmp_path / "out")) == ["ca-certs.pem", "git", "step-runner"]
    assert stat.S_IMODE((tmp_path / "out/ca-certs.pem").stat().st_mode) == 0o644
    assert sorted(os.listdir(tmp_path / "out/git")) == ["bin", "link"]
    assert os.access(tmp_path / "out/git/bin/git", os.X_OK)
    assert (tmp_path / "out/git/link").readlink() == Path("bin/git")
