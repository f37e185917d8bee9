"""Commands in unusual programs: with blocked signals, after a fork, or with many threads."""

from __future__ import annotations

import subprocess
import sys

import pytest

if sys.platform == "win32":
    pytest.skip("POSIX only", allow_module_level=True)

BLOCKS = """
import signal
from gracefulexitcmd import PIPE, Cmd
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
script = "exec 2>/dev/null; trap 'echo told; exit 3' TERM; echo ready; while :; do sleep 0.01; done"
with Cmd(["sh", "-c", script], stdout=PIPE, text=True) as command:
    command.stdout.readline()
    command.cancel()
    print(command.stdout.read().split(), command.wait().returncode)
print(sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())) == [signal.SIGINT, signal.SIGTERM])
"""

FORKED = """
import os, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # from Python 3.12 on, as other threads' locks stay locked
from gracefulexitcmd import Cmd, contain, run
busy, over = threading.Event(), threading.Event()
def keep_busy():
    with Cmd(["sleep", "1000"], grace=0) as command:
        busy.set()
        over.wait()
thread = threading.Thread(target=keep_busy)
with contain(grace=5):
    thread.start()
    busy.wait()
    child = os.fork()
    if child == 0:
        with contain(grace=5) as box:
            left = Cmd(["sh", "-c", "setsid sleep 1000 & exit 3"], container=box).run()
        run(["true"], check=True)
        os._exit(left.returncode if len(box.exit.census) == 1 else 1)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    over.set()
    thread.join()
"""

THREADS = """
import signal, threading
from gracefulexitcmd import Cmd, contain, run
signal.signal(signal.SIGUSR1, lambda *_: heard.append(1))
heard, outputs, lock = [], [], threading.Lock()
def work(number):
    for turn in range(5):
        ended = run(["sh", "-c", f"echo {number} {turn}; exit {turn}"], text=True)
        signal.raise_signal(signal.SIGUSR1)
        with lock:
            outputs.append((ended.stdout, ended.returncode) == (f"{number} {turn}\\n", turn))
    if number == 0:
        waited.cancel()
with contain(grace=5) as box, Cmd(["sleep", "1000"], container=box) as waited:
    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    print(waited.wait().cause)
    for thread in threads:
        thread.join()
print(len(outputs), all(outputs), bool(heard), box.exit.census)
"""


def output_of(program: str) -> str:
    """Return the output of a program that raises nothing."""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50)
    assert ended.stderr == ""
    return ended.stdout


def test_command_of_program_blocking_sigterm_is_stopped() -> None:
    """A daemon that takes its signals by sigwait(3) blocks them; its own mask stays unchanged."""
    assert output_of(BLOCKS) == "['told'] 3\nTrue\n"


def test_forked_program_starts_and_contains_commands() -> None:
    """Another thread of the parent served a command at the moment of the fork."""
    assert output_of(FORKED) == "3\n"


def test_threads_start_commands_while_the_main_thread_waits() -> None:
    """Each command has its own output and status, and the program's signal handlers run."""
    assert output_of(THREADS) == "cancelled\n40 True True ()\n"
