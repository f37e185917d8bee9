"""Containers: their processes are not the job's but the Docker daemon's, which runs in namespaces of its own here."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
import time
from io import BytesIO
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, NamedTuple

import psutil
import pytest
from tests.tools.stopping import READY, Seen, stopped, until_ready
from tests.tools.test_shells import BUSYBOX
from tests.tools.toolbox import debian, debian_system, within

if TYPE_CHECKING:
    from collections.abc import Iterator

SYSTEM = ("docker-compose=1.29.2-3", "docker.io=20.10.24+dfsg1-1+deb12u1+b6")
NAMESPACES = ("unshare", "--mount", "--pid", "--net", "--ipc", "--cgroup", "--fork", "--kill-child")
PREPARE = """set -e
mount -t tmpfs none /etc/docker
mount -t cgroup2 none /sys/fs/cgroup
mkdir /sys/fs/cgroup/daemon
echo 0 >/sys/fs/cgroup/daemon/cgroup.procs
mount -t proc proc /proc
exec "$@"
"""
DOCKERD = ("--bridge=none", "--iptables=false", "--ip6tables=false", "--storage-driver=vfs", "--pidfile=pid")
SERVICE = """trap 'echo SIGTERM >>/log/log; sleep "$SLEEP"; echo cleaned up >>/log/log; exit 0' TERM
until [ -e /log/go ]; do sleep 0.1; done
echo ready 0 >/log/log
while :; do sleep 0.1; done
"""


class Docker(NamedTuple):
    """A Docker daemon that listens on a socket in a directory, and has one image."""

    root: Path
    directory: Path

    def client(self, *arguments: str) -> tuple[str, ...]:
        """Return the command that calls the daemon by `docker`."""
        host = f"--host=unix://{self.directory}/socket"
        return within(self.root, "/usr/bin/docker", host, *arguments)

    def running(self) -> list[str]:
        """Return the identifiers of the containers that run."""
        said = subprocess.run(self.client("ps", "--quiet"), check=True, stdout=subprocess.PIPE, text=True, timeout=60)
        return said.stdout.split()

    def go(self) -> None:
        """Let the service say that it is ready."""
        (self.directory / "go").touch()

    def run(self, seconds: str) -> tuple[str, ...]:
        """Return the command that runs the service, whose clean-up takes some seconds."""
        self.go()
        volume = f"{self.directory}:/log"
        return self.client("run", "--rm", "--network=none", f"--env=SLEEP={seconds}", f"--volume={volume}", "service")


@pytest.fixture
def docker() -> Iterator[Docker]:
    """Run a Docker daemon with mounts, processes, network and control groups of its own."""
    directory = Path(os.environ["TMPDIR"])  # short, because a socket's path may have no more than 107 bytes
    for name in ("layer/etc/docker", "layer/usr"):
        (directory / name).mkdir(parents=True)
    places = (f"--data-root={directory}/data", f"--exec-root={directory}/exec", f"--host=unix://{directory}/socket")
    daemon = within(debian_system(*SYSTEM), *NAMESPACES, "sh", "-c", PREPARE, "sh", "dockerd", *DOCKERD, *places)
    group = _cgroup2() / f"dockerd-{os.getpid()}"
    group.mkdir()
    command = ("sh", "-c", f'echo 0 >{group}/cgroup.procs; exec "$@"', "sh", *within(directory / "layer", *daemon))
    env = {name: value for name, value in os.environ.items() if name != "TMPDIR"}  # by which `stopped` ends all
    with open(directory / "daemon", "w") as messages:
        process = subprocess.Popen(command, cwd=directory, env=env, stdout=messages, stderr=messages)
    try:
        _await_socket(process, directory)
        made = Docker(debian_system(*SYSTEM), directory)
        changes = ('--change=CMD ["sh", "/service"]', "--change=ENV PATH=/bin")
        subprocess.run(made.client("import", *changes, "-", "service"), input=image(), check=True, timeout=60)
        yield made
    finally:
        process.kill()  # its child is the first process of the namespace, and all others end with that
        process.wait()
        _remove(group)


def _cgroup2() -> Path:
    return next(Path(disk.mountpoint) for disk in psutil.disk_partitions(all=True) if disk.fstype == "cgroup2")


def _await_socket(process: subprocess.Popen[bytes], directory: Path) -> None:
    deadline = time.monotonic() + READY
    while not (directory / "socket").exists():
        assert process.poll() is None, (directory / "daemon").read_text()
        assert time.monotonic() < deadline, "dockerd did not start"
        time.sleep(0.1)


def _remove(group: Path) -> None:
    for _ in range(200):
        try:
            for directory in sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True):
                directory.rmdir()
            return group.rmdir()
        except OSError:  # processes that are killed have not ended yet
            time.sleep(0.05)
    raise AssertionError(f"{group} is still in use")


def image() -> bytes:
    """Return the files of an image that has busybox and the service."""
    written = BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        archive.add(debian(BUSYBOX) / "bin/busybox", "bin/busybox")
        for name in ("sh", "sleep"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
        script = tarfile.TarInfo("service")
        script.size = len(SERVICE)
        archive.addfile(script, BytesIO(SERVICE.encode()))
    return written.getvalue()


def compose(docker: Docker, seconds: str, *options: str, services: int = 1) -> tuple[str, ...]:
    """Return the command that runs services by docker-compose, its messages in a file."""
    service = {"image": "service", "network_mode": "none", "volumes": [f"{docker.directory}:/log"]}
    all_services = {f"web{number}": {**service, "environment": {"SLEEP": seconds}} for number in range(services)}
    (docker.directory / "docker-compose.yml").write_text(json.dumps({"version": "3.8", "services": all_services}))
    host = f"unix://{docker.directory}/socket"
    up = within(docker.root, "docker-compose", "--host", host, "up", *options)
    return ("sh", "-c", 'exec "$@" >messages 2>&1', "sh", *up)


def stop_compose(docker: Docker, how: str, seconds: str, *options: str) -> Seen:
    """Stop `docker-compose up` when it has started the service, whose clean-up takes some seconds."""
    messages = docker.directory / "messages"

    def let_go() -> None:
        deadline = time.monotonic() + READY
        while not (messages.exists() and "Attaching to" in messages.read_text()) and time.monotonic() < deadline:
            time.sleep(0.1)
        docker.go()

    thread = Thread(target=let_go)
    thread.start()
    try:
        return stopped(compose(docker, seconds, *options), how, docker.directory / "log", cwd=docker.directory)
    finally:
        thread.join()


@pytest.mark.parametrize("how", ["leader", "product"])
def test_compose_up_stops_its_containers_and_exits_0(how: str, docker: Docker) -> None:
    """The program in the container gets one signal and has its time; the exit status is 0."""
    seen = stop_compose(docker, how, "1")
    assert (seen.status, seen.received, seen.cleaned) == (0, 1, True)


@pytest.mark.parametrize(("options", "cleans"), [((), False), (("--timeout=30",), True)], ids=["default", "longer"])
def test_compose_kills_after_its_own_ten_seconds(options: tuple[str, ...], cleans: bool, docker: Docker) -> None:
    """A container has 10 s, whatever the grace of the job is; `--timeout` says otherwise."""
    assert stop_compose(docker, "product", "12", *options).cleaned is cleans


@pytest.mark.parametrize("how", ["leader", "product"])
def test_compose_leaves_starting_containers(how: str, docker: Docker) -> None:
    """Stopped while it starts containers, docker-compose says that it stops them, exits 0, and some run on."""
    docker.go()
    seen = stopped(compose(docker, "1", services=8), how, docker.directory / "log", cwd=docker.directory)
    assert seen.status == 0
    assert "Gracefully stopping" in (docker.directory / "messages").read_text()
    time.sleep(5)
    assert docker.running()


@pytest.mark.parametrize("how", ["leader", "product"])
def test_docker_run_passes_stop_on(how: str, docker: Docker) -> None:
    """The program in the container gets one signal and has its time; the exit status is its own."""
    seen = stopped(docker.run("1"), how, docker.directory / "log")
    assert (seen.status, seen.received, seen.cleaned) == (0, 1, True)


def test_container_outlives_its_killed_client(docker: Docker) -> None:
    """SIGKILL ends `docker run` alone: the daemon keeps the container running."""
    with subprocess.Popen(docker.run("60"), stdout=subprocess.DEVNULL) as process:
        until_ready(docker.directory / "log")
        process.kill()
    assert len(docker.running()) == 1
