from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from step_runner import __version__
from step_runner.bootstrap import distribution
from step_runner.bootstrap.install import install
from step_runner.bootstrap.launcher import launcher, packed
from step_runner.errors import InputError, StepRunnerError

if TYPE_CHECKING:
    from collections.abc import Callable

    Command = Callable[..., subprocess.CompletedProcess[str]]

HELLO = "{}\n---\nrun:\n  - name: greet\n    script: echo hello\n"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program as one file."""
    path = tmp_path_factory.mktemp("made") / "step-runner"
    path.write_bytes(launcher())
    path.chmod(0o755)
    return path


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the program is unpacked for the tests that do not care."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def environment(tmp_path: Path, cache: Path, temporary: str) -> dict[str, str]:
    """As on another machine: a Python that has nothing installed."""
    python = tmp_path / "bin" / "python3"
    python.parent.mkdir()
    # Without its virtual environment's configuration next to it, it finds the standard library alone.
    python.symlink_to(os.path.realpath(sys.executable))
    return {"PATH": f"{python.parent}:/usr/bin:/bin", "XDG_CACHE_HOME": str(cache), "TMPDIR": temporary}


@pytest.fixture
def elsewhere(program: Path, environment: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the file there."""

    def run(*arguments: str, cache: Path | str | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
        env = environment if cache is None else {**environment, "XDG_CACHE_HOME": str(cache)}
        command = [str(program), *arguments]
        return subprocess.run(command, env=env, check=False, capture_output=True, text=True, **options)

    return run


@pytest.fixture
def frozen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that runs, if this were a frozen program."""
    path = tmp_path / "frozen"
    path.write_text("the program")
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(sys, "executable", str(path))
    return path


def unpacked(cache: Path) -> Path:
    (path,) = (cache / "step-runner" / "programs").iterdir()
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
def test_the_destination_is_a_file_or_a_directory(
    elsewhere: Command, tmp_path: Path, destination: str, made: str
) -> None:
    (tmp_path / "there").mkdir()
    ended = elsewhere("bootstrap", destination, cwd=tmp_path, umask=0o077)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    path = tmp_path / made
    assert stat.S_IMODE(path.stat().st_mode) == 0o755
    if path.parent not in (tmp_path, tmp_path / "there"):
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755
    assert path.read_bytes().startswith(b"#!/usr/bin/env python3\n")
    assert not [name for name in os.listdir(path.parent) if name.startswith(".")]


@pytest.mark.parametrize("names", [("bootstrap",), ("steps", "bootstrap")], ids=" ".join)
def test_an_installed_program_makes_a_file_that_runs(
    command: Command, environment: dict[str, str], tmp_path: Path, names: tuple[str, ...]
) -> None:
    assert command(*names, str(tmp_path)).returncode == 0
    made = subprocess.run([tmp_path / "step-runner", "--version"], env=environment, capture_output=True, text=True)
    assert made.stdout == f"step-runner {__version__}\n"


def test_the_same_files_make_the_same_archive(tmp_path: Path) -> None:
    """Its hash names the directory that it is unpacked into."""
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    first = packed({"b": tmp_path / "b", "a": tmp_path / "a"})
    os.utime(tmp_path / "a", (0, 0))
    (tmp_path / "a").chmod(0o700)
    assert packed({"a": tmp_path / "a", "b": tmp_path / "b"}) == first


def test_a_file_that_is_there_is_replaced_and_who_uses_it_keeps_the_old_one(
    elsewhere: Command, tmp_path: Path, program: Path
) -> None:
    target = tmp_path / "step-runner"
    target.write_text("an old one")
    with target.open() as old:
        for _ in range(2):
            assert elsewhere("bootstrap", str(target)).returncode == 0
            assert target.read_bytes() == program.read_bytes()
        assert old.read() == "an old one"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "destination argument must be provided"),
        ([""], "destination argument must be provided"),
        (["file/step-runner"], "mkdir file: not a directory"),
        (["taken"], "taken/step-runner: is a directory: give another destination"),
    ],
    ids=["missing", "empty", "below a file", "directory in its place"],
)
def test_a_destination_that_cannot_be_used(
    command: Command, tmp_path: Path, arguments: list[str], complaint: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "taken/step-runner").mkdir(parents=True)
    ended = command("bootstrap", *arguments, cwd=tmp_path)
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", f"Error: {complaint}\n")


def test_certificates_and_git_are_copied_next_to_it(tmp_path: Path, frozen: Path) -> None:
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


def test_a_frozen_program_copies_itself(tmp_path: Path, frozen: Path) -> None:
    install(str(tmp_path / "copy"))
    assert (tmp_path / "copy").read_text() == frozen.read_text()


def test_the_file_runs_a_function_where_nothing_is_installed(elsewhere: Command, tmp_path: Path) -> None:
    (tmp_path / "func.yml").write_text(HELLO)
    ended = elsewhere("run", str(tmp_path))
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.endswith("hello\n")


def test_the_file_serves_and_starts_jobs_where_nothing_is_installed(
    elsewhere: Command, program: Path, environment: dict[str, str], tmp_path: Path, temporary: str
) -> None:
    """C extensions come along, gRPC's and others'."""
    path = os.path.join(temporary, "s.sock")
    (tmp_path / "func.yml").write_text(HELLO)
    with subprocess.Popen([program, "serve", "--socket", path], env=environment, stderr=subprocess.PIPE) as server:
        assert server.stderr is not None
        assert server.stderr.readline() == f"step-runner is listening on socket {path}\n".encode()
        assert elsewhere("start", str(tmp_path), "--follow", "--socket", path).stdout.endswith("hello\n")
        server.terminate()


def test_it_unpacks_once_into_a_private_directory(elsewhere: Command, tmp_path: Path) -> None:
    elsewhere("--version", cache=tmp_path)
    path = unpacked(tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    before = (path / "step_runner/__init__.py").stat()
    elsewhere("--version", cache=tmp_path)
    assert unpacked(tmp_path) == path
    assert (path / "step_runner/__init__.py").stat().st_ino == before.st_ino


def test_several_first_starts_at_once_make_one_directory(
    program: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    env = {**environment, "XDG_CACHE_HOME": str(tmp_path)}
    starts = [subprocess.Popen([program, "--version"], env=env, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [start.communicate()[0] for start in starts] == [f"step-runner {__version__}\n"] * 3
    unpacked(tmp_path)


@pytest.mark.parametrize("cache", ["relative", "/proc/nowhere"], ids=["relative", "not writable"])
def test_without_a_usable_cache_it_unpacks_below_the_temporary_directory(
    elsewhere: Command, temporary: str, cache: str
) -> None:
    assert elsewhere("--version", cache=cache).returncode == 0
    assert len(os.listdir(f"{temporary}/step-runner-programs-{os.getuid()}")) == 1


def test_it_does_not_run_what_others_could_have_written(elsewhere: Command, tmp_path: Path, temporary: str) -> None:
    for path in (tmp_path / "step-runner/programs", Path(f"{temporary}/step-runner-programs-{os.getuid()}")):
        path.mkdir(parents=True)
        path.chmod(0o777)
    ended = elsewhere("--version", cache=tmp_path)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("Error: cannot unpack itself: ")
    assert ended.stderr.count("can be written by other users") == 2


@pytest.mark.parametrize("mode", [0o777, 0o1777], ids=["writable", "sticky"])
def test_directory_above_that_others_can_write_to_is_not_used(
    elsewhere: Command, tmp_path: Path, temporary: str, mode: int
) -> None:
    """They could put another one into its place later, and the program imports some modules late."""
    home = tmp_path / "home"
    (home / "cache").mkdir(parents=True)
    home.chmod(mode)
    os.chown(home, 1234 if os.getuid() == 0 and mode == 0o1777 else -1, -1)
    assert elsewhere("--version", cache=home / "cache").returncode == 0
    assert os.listdir(home / "cache") == []
    assert len(os.listdir(f"{temporary}/step-runner-programs-{os.getuid()}")) == 1


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give directories away")
@pytest.mark.parametrize("linked", [False, True], ids=["direct", "linked"])
def test_directory_above_of_another_user_is_not_used(
    elsewhere: Command, tmp_path: Path, temporary: str, linked: bool
) -> None:
    """As when root keeps the HOME of a user."""
    home = tmp_path / "home"
    (home / "cache").mkdir(parents=True)
    os.chown(home, 1234, -1)
    (tmp_path / "link").symlink_to(home / "cache")
    assert elsewhere("--version", cache=tmp_path / "link" if linked else home / "cache").returncode == 0
    assert os.listdir(home / "cache") == []
    assert len(os.listdir(f"{temporary}/step-runner-programs-0")) == 1


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give directories away")
def test_it_does_not_use_a_directory_of_another_user(elsewhere: Command, tmp_path: Path, temporary: str) -> None:
    for path in (tmp_path / "step-runner/programs", Path(f"{temporary}/step-runner-programs-0")):
        path.mkdir(parents=True, mode=0o700)
        os.chown(path, 1234, -1)
    ended = elsewhere("--version", cache=tmp_path)
    assert ended.returncode == 1
    assert ended.stderr.count("belongs to another user") == 2


def test_another_python_is_refused_in_one_sentence(program: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed"
    with zipfile.ZipFile(program) as archive, zipfile.ZipFile(changed, "w") as copy:
        for name in archive.namelist():
            copy.writestr(name, archive.read(name).replace(b"'version': (3, ", b"'version': (2, "))
    ended = subprocess.run([sys.executable, changed], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("Error: this file needs Python 2.")
    assert ended.stderr.endswith("or make the file again with this one: step-runner bootstrap\n")
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["python3.8", "python3.13"])
def test_an_older_and_a_newer_python_are_refused_too(program: Path, name: str) -> None:
    python = shutil.which(name)
    if python is None or subprocess.run([python, "--version"], capture_output=True).returncode != 0:
        pytest.skip(f"there is no {name}")
    ended = subprocess.run([python, program], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert ended.stderr.startswith("Error: this file needs Python 3.")


def test_the_files_are_the_same_from_an_installed_wheel(tmp_path: Path) -> None:
    """An installed package is found where it was put, an editable one in its source directory."""
    root = Path(__file__).parent.parent.parent
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=root, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target"]
    subprocess.run([*install, str(site), str(wheel)], check=True)
    program = "from step_runner.bootstrap import distribution as d; print(*d.files(), sep='\\n')"
    listing = subprocess.run(
        [os.path.realpath(sys.executable), "-c", program],
        env={"PYTHONPATH": f"{site}:{sysconfig.get_path('platlib')}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    files = set(listing.stdout.splitlines())
    assert files == set(distribution.files())
    assert {"step_runner/__main__.py", "gracefulexitcmd/cmd.py", "click/core.py", "grpc/__init__.py"} <= files
    assert f"msgspec/_core{sysconfig.get_config_var('EXT_SUFFIX')}" in files
    assert not [name for name in files if name.endswith((".pyc", ".pth", "RECORD", "direct_url.json"))]


def test_a_dependency_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distribution, "OWN", "no-such-distribution")
    with pytest.raises(StepRunnerError, match="no-such-distribution is not installed: install step-runner with pip"):
        distribution.files()


def test_an_empty_destination_is_no_destination() -> None:
    with pytest.raises(InputError, match="destination argument must be provided"):
        install("")


def test_a_function_in_python_finds_the_unpacked_program(elsewhere: Command, tmp_path: Path) -> None:
    """Its process imports what lies there, with what that needs, where nothing else is installed."""
    build = "func: builtin://function/oci/build\ninputs: {version: 1.0.0, platforms: {linux/amd64: {files: {f: f}}}}"
    (tmp_path / "f").write_text("f")
    ended = elsewhere("run", build, cwd=tmp_path)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.startswith("built function-image.tar: version 1.0.0, linux/amd64, sha256:")
    assert (tmp_path / "function-image.tar").is_file()
