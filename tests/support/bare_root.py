"""A root directory with the C library, a shell and the files of a test, and programs that run in it."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

SHELL = "/bin/sh"

GLIBC = ("libc.so.6", "libm.so.6", "libdl.so.2", "librt.so.1", "libpthread.so.0", "libutil.so.1", "libresolv.so.2")

NAMESPACES = ("unshare", "--mount", "--pid", "--fork", "--kill-child")

MOUNTS = """
mount --bind "$0" "$0" && mount --types proc proc "$0/proc" && mount --rbind /dev "$0/dev" || exit 125
eval "$1" || exit 125
shift
cd / && exec env -i "$@"
"""
"""A shell script that does the mounts of a container engine, then executes a program in the root directory."""


class BareRoot:
    """The root directory; it starts programs in itself like a container engine."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for directory in ("bin", "dev", "proc", "tmp", "job"):
            (path / directory).mkdir(parents=True)
        self._copy_shell()

    def _copy_shell(self) -> None:
        shell = os.path.realpath(shutil.which("dash") or SHELL)
        shutil.copy(shell, self.path / "bin/sh")
        listed = subprocess.run(["ldd", shell], capture_output=True, text=True, check=True).stdout
        found = [word for word in listed.split() if word.startswith("/")]
        directory = next(os.path.dirname(file) for file in found if "/libc.so" in file)
        for file in {*found, *(f"{directory}/{name}" for name in GLIBC)}:
            if os.path.exists(file):
                target = self.path / file.lstrip("/")
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, target)

    def add(self, source: Path, name: str) -> None:
        """Copy a program into the root directory."""
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
        target.chmod(0o755)

    def write(self, name: str, text: str) -> None:
        """Write a file in the root directory."""
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        (self.path / name).write_text(text)

    def start(self, *command: str, then: str = ":", env: dict[str, str] | None = None, **options: Any) -> Any:
        """Start a program as the first process of a PID namespace; the shell runs `then` after the mounts."""
        variables = {"PATH": "/bin", **(env or {})}
        given = [f"{name}={value}" for name, value in variables.items()]
        enter = [str(shutil.which("chroot", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")), str(self.path)]
        inside = ["sh", "-c", MOUNTS, str(self.path), then, *given, *enter, *command]
        return subprocess.Popen([*_namespaces(), *inside], **options)

    def run(self, *command: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a program and return its result."""
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        with self.start(*command, text=True, **options) as process:
            out, err = process.communicate()
        return subprocess.CompletedProcess(command, process.returncode, out, err)


@functools.cache
def _namespaces() -> tuple[str, ...]:
    """Return the command that enters namespaces in which this user may mount; skip the test if there is none."""
    if sys.platform != "linux":
        pytest.skip("only Linux has namespaces")
    prefix = NAMESPACES if os.getuid() == 0 else (*NAMESPACES, "--user", "--map-root-user")
    tried = subprocess.run([*prefix, "mount", "--bind", "/tmp", "/tmp"], capture_output=True, text=True)
    if tried.returncode != 0:
        user = "root" if os.getuid() == 0 else "an ordinary user"
        pytest.skip(f"{user} cannot create namespaces with mounts here: {tried.stderr.strip()}")
    return prefix
