"""Small programs that start another one."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import psutil
import pytest
from tests.tools.stopping import PAYLOAD, end_all, stopped, until_ready
from tests.tools.test_shells import BUSYBOX
from tests.tools.toolbox import ROOT, debian, debian_system, pypi, within

SCRIPT = shlex.join(PAYLOAD)
INITS = ("tini=0.19.0-1+b3", "dumb-init=1.2.5-2", "catatonit=0.1.7-1+b2")
SUPERVISOR = "supervisor==4.3.0"
HONCHO = "honcho==2.0.0"
SUPERVISED = """[supervisord]
nodaemon=true
logfile=/dev/null
logfile_maxbytes=0
pidfile=pid
[program:web]
command={}
stopwaitsecs=10
"""
SUDO = "sudo=1.9.13p3-1+deb12u4"
KEEP = "--preserve-env=PAYLOAD_LOG,PAYLOAD_SECONDS,TMPDIR"
RULE = "nobody ALL=(ALL) NOPASSWD: SETENV: ALL\n"
PARALLEL = "parallel=20221122+ds-2"
OF_TIMEOUT = range(1, 4)
"""The signals that the program of timeout may get: one to itself, one to its group, and ours; some may coincide."""


@pytest.mark.parametrize("how", ["leader", "group", "product"])
@pytest.mark.parametrize("wrapper", ["timeout 60", "timeout --foreground 60", "nohup", "setpriv --nnp"])
def test_wrapper_passes_stop_on(wrapper: str, how: str, log: Path) -> None:
    """The program gets one signal, or (timeout) up to three, and has its time; the exit status is its own."""
    seen = stopped((*wrapper.split(), *PAYLOAD), how, log)
    assert (seen.status, seen.cleaned, seen.lives) == (0, True, False)
    assert seen.received in (OF_TIMEOUT if wrapper.startswith("timeout") else (1,))


def test_timeout_in_a_shell_misses_signal_of_group(log: Path) -> None:
    """timeout makes a group of its own: the shell's group does not reach it, and the program continues."""
    seen = stopped(("sh", "-c", f"timeout 60 {SCRIPT}; exit $?"), "group", log)
    assert (seen.received, seen.lives) == (0, True)


def test_timeout_in_a_shell_is_found_by_product(log: Path) -> None:
    """The product signals timeout and its program, which has its time."""
    seen = stopped(("sh", "-c", f"timeout 60 {SCRIPT}; exit $?"), "product", log)
    assert (seen.cleaned, seen.lives) == (True, False)
    assert seen.received in OF_TIMEOUT


def test_timeout_with_first_leader_passes_one_signal(log: Path) -> None:
    """With the leader signalled alone, the program gets the one signal that `timeout --foreground` passes on."""
    seen = stopped(("timeout", "--foreground", "60", *PAYLOAD), "first leader", log)
    assert (seen.status, seen.received, seen.cleaned) == (0, 1, True)


@pytest.mark.parametrize("how", ["leader", "group", "product"])
def test_busybox_timeout_becomes_its_command(how: str, log: Path) -> None:
    """The process is the program itself: it gets one signal, and its exit status counts, never 124."""
    seen = stopped((debian(BUSYBOX) / "bin/busybox", "timeout", "60", *PAYLOAD), how, log)
    assert (seen.status, seen.received, seen.cleaned) == (0, 1, True)


@pytest.mark.parametrize("how", ["leader", "group"])
def test_setsid_loses_its_program(how: str, log: Path) -> None:
    """`setsid --wait` waits, dies of the signal, and its program continues."""
    seen = stopped(("setsid", "--wait", *PAYLOAD), how, log)
    assert (seen.status, seen.received, seen.lives) == (-15, 0, True)


def test_product_finds_session_of_setsid(log: Path) -> None:
    """A process in a session of its own gets the signal as well."""
    seen = stopped(("setsid", "--wait", *PAYLOAD), "product", log)
    assert (seen.received, seen.cleaned, seen.lives) == (1, True, False)


@pytest.mark.parametrize("how", ["leader", "group", "product"])
@pytest.mark.parametrize("init", ["tini -s --", "dumb-init", "dumb-init --single-child", "catatonit --"])
def test_init_passes_stop_on(init: str, how: str, log: Path) -> None:
    """tini, dumb-init and catatonit pass the signal on; the program may get it twice."""
    seen = stopped((debian(*INITS) / "usr/bin" / init.split()[0], *init.split()[1:], *PAYLOAD), how, log)
    assert (seen.status, seen.cleaned, seen.lives) == (0, True, False)
    assert seen.received in (1, 2)


@pytest.mark.parametrize("how", ["leader", "product"])
@pytest.mark.parametrize("become", ["su root --shell=/bin/bash -c", "runuser root --shell=/bin/bash -c"])
def test_su_kills_after_two_seconds(become: str, how: str, log: Path) -> None:
    """A program that needs longer is killed by su or runuser, whatever the grace of the job is."""
    seen = stopped((*become.split(), SCRIPT), how, log, PAYLOAD_SECONDS="4")
    assert (seen.status, seen.cleaned, seen.lives) == (-15, False, False)


@pytest.mark.parametrize("become", ["su root --shell=/bin/dash -c", "runuser root --shell=/bin/dash -c"])
def test_su_signals_only_dash(become: str, log: Path) -> None:
    """With dash the program gets no signal, and continues when su has killed the shell."""
    seen = stopped((*become.split(), f"{SCRIPT}; exit $?"), "leader", log)
    assert (seen.received, seen.lives) == (0, True)


@pytest.mark.parametrize(("how", "most"), [("leader", 1), ("group", 2), ("product", 2), ("first leader", 1)])
def test_sudo_passes_stop_on(how: str, most: int, log: Path) -> None:
    """sudo passes the signal on and waits; with the default the program may get two."""
    seen = stopped(within(debian_system(SUDO), "sudo", KEEP, *PAYLOAD), how, log)
    assert (seen.status, seen.cleaned, seen.lives) == (0, True, False)
    assert 1 <= seen.received <= most


def test_user_cannot_kill_program_of_sudo(log: Path) -> None:
    """Another user's SIGKILL ends sudo alone; the product says which program it could not end."""
    place = Path(os.environ["TMPDIR"])
    place.chmod(0o755)
    shutil.copytree(ROOT / "packages/gracefulexitcmd/src", place / "lib")
    for name in ("layer/etc/sudoers.d", "layer/usr"):
        (place / name).mkdir(parents=True)
    (place / "layer/etc/sudoers.d/rule").write_text(RULE)
    product = ("setpriv", "--reuid=nobody", "--clear-groups", "/usr/bin/python3", "-m", "gracefulexitcmd")
    command = within(debian_system(SUDO), *product, "--grace", "1", "--", "sudo", KEEP, *PAYLOAD)
    env = {**os.environ, "PAYLOAD_LOG": str(log), "PAYLOAD_SECONDS": "60", "PYTHONPATH": str(place / "lib")}
    try:
        messages = log.with_name("messages")  # not a pipe, whose end comes with that of the program
        with (
            open(messages, "w") as stderr,
            subprocess.Popen(within(place / "layer", *command), env=env, stderr=stderr) as process,
        ):
            until_ready(log)
            process.terminate()
        pid = int(log.read_text().split()[1])
        assert psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        assert f"could not be ended: {SCRIPT} (pid {pid})" in messages.read_text()
    finally:
        end_all()


@pytest.mark.parametrize("how", ["leader", "group", "product"])
def test_parallel_kills_within_half_a_second(how: str, log: Path) -> None:
    """GNU parallel sends TERM three times and kills after 0.35 s; a clean-up of a second is cut off."""
    seen = stopped(("perl", debian(PARALLEL) / "usr/bin/parallel", "--will-cite", SCRIPT, ":::", "1"), how, log)
    assert (seen.status, seen.cleaned, seen.lives) == (255, False, False)


@pytest.mark.parametrize("how", ["leader", "group", "product"])
def test_parallel_waits_as_long_as_termseq(how: str, log: Path) -> None:
    """`--termseq TERM,10000,KILL` gives the jobs ten seconds."""
    parallel = debian(PARALLEL) / "usr/bin/parallel"
    seen = stopped(("perl", parallel, "--will-cite", "--termseq", "TERM,10000,KILL", SCRIPT, ":::", "1"), how, log)
    assert (seen.status, seen.cleaned, seen.lives) == (255, True, False)


@pytest.mark.parametrize(("how", "most"), [("leader", 1), ("group", 1), ("product", 2), ("first leader", 1)])
def test_supervisord_waits_and_exits_0(how: str, most: int, log: Path) -> None:
    """supervisord gives its programs their `stopwaitsecs`; with the default they get two signals."""
    (log.parent / "supervisord.conf").write_text(SUPERVISED.format(SCRIPT))
    supervisord = pypi(SUPERVISOR) / "supervisord"
    seen = stopped((supervisord, "--configuration", "supervisord.conf"), how, log, cwd=log.parent)
    assert (seen.status, seen.cleaned, seen.lives) == (0, True, False)
    assert 1 <= seen.received <= most


@pytest.mark.parametrize(("how", "most"), [("leader", 1), ("group", 1), ("product", 2), ("first leader", 1)])
def test_honcho_waits_and_exits_143(how: str, most: int, log: Path) -> None:
    """honcho passes the signal on and waits; its exit status is 143 for a clean stop."""
    (log.parent / "Procfile").write_text(f"web: {SCRIPT}\n")
    seen = stopped((pypi(HONCHO) / "honcho", "start"), how, log, cwd=log.parent)
    assert (seen.status, seen.cleaned, seen.lives) == (143, True, False)
    assert 1 <= seen.received <= most


@pytest.mark.parametrize("how", ["leader", "product"])
def test_honcho_alone_kills_nothing(how: str, log: Path) -> None:
    """A single program has more than the five seconds after which honcho is written to kill."""
    (log.parent / "Procfile").write_text(f"web: exec {SCRIPT}\n")
    seen = stopped((pypi(HONCHO) / "honcho", "start"), how, log, cwd=log.parent, PAYLOAD_SECONDS="7")
    assert (seen.status, seen.cleaned, seen.lives) == (143, True, False)


@pytest.mark.parametrize("how", ["leader", "product"])
def test_honcho_kills_five_seconds_after_the_first_end(how: str, log: Path) -> None:
    """Its clock starts when the first of its programs has ended, and SIGKILL ends the others, whatever the grace is."""
    (log.parent / "Procfile").write_text(f"web: exec {SCRIPT}\nquick: exec sleep 60\n")
    seen = stopped((pypi(HONCHO) / "honcho", "start"), how, log, cwd=log.parent, PAYLOAD_SECONDS="10")
    assert (seen.status, seen.cleaned, seen.lives) == (143, False, False)
