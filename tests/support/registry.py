"""A real registry on loopback: Debian's docker-registry."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from pathlib import Path

from tests.support.absent import absent

UNPACKED = Path(__file__).parents[2] / ".cache/docker-registry/usr/bin/docker-registry"
PROGRAM = shutil.which("docker-registry") or (str(UNPACKED) if UNPACKED.exists() else None)

CONFIG = """\
version: 0.1
log: {{level: info, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: {directory}}}
  delete: {{enabled: true}}
http:
  addr: 127.0.0.1:0
  secret: loopback
"""


class RegistryServer:
    """A running registry, at a port that the system chooses, with its files in a directory.

    `htpasswd` is a file of users with bcrypt passwords; `certificate` and `key` switch TLS on.
    """

    def __init__(
        self,
        directory: Path,
        *,
        htpasswd: Path | None = None,
        certificate: Path | None = None,
        key: Path | None = None,
    ) -> None:
        if PROGRAM is None:
            absent("docker-registry")
        self._blobs = directory / "docker/registry/v2/blobs"
        directory.mkdir(parents=True)
        config = CONFIG.format(directory=directory)
        if certificate:
            config += f"  tls: {{certificate: {certificate}, key: {key or certificate}}}\n"
        if htpasswd:
            config += f"auth:\n  htpasswd: {{realm: loopback, path: {htpasswd}}}\n"
        path = directory / "config.yml"
        path.write_text(config)
        self._process = subprocess.Popen(
            [PROGRAM, "serve", str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        self.port = self._wait_until_ready()
        self._drain = threading.Thread(target=self._read_log)
        self._drain.start()

    @property
    def host(self) -> str:
        """The part of a reference in front of the repository."""
        return f"127.0.0.1:{self.port}"

    def spoil(self, digest: str) -> None:
        """Change a byte of a blob on the registry's disk, like a fault of the disk."""
        algorithm, _, value = digest.partition(":")
        with (self._blobs / algorithm / value[:2] / value / "data").open("r+b") as file:
            first = file.read(1)
            file.seek(0)
            file.write(bytes([first[0] ^ 1]))

    def close(self) -> None:
        """Stop the registry, if it still runs."""
        self._process.terminate()
        self._drain.join()
        self._process.wait()

    def _wait_until_ready(self) -> int:
        assert self._process.stderr
        lines = []
        for line in self._process.stderr:
            lines.append(line)
            if listening := re.search(r"listening on 127\.0\.0\.1:(\d+)", line):
                return int(listening[1])
        self._process.wait()
        raise AssertionError("".join(lines))

    def _read_log(self) -> None:
        """Read the log, so that the registry never blocks on a full pipe."""
        assert self._process.stderr
        with self._process.stderr as log:
            for _ in log:
                pass
