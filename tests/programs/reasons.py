"""Survives SIGTERM for the reason in its argument: `reasons.py REASON`."""

import ctypes
import os
import platform
import signal
import sys

CLONE_VFORK = 0x4000
CLONE = {"x86_64": 56, "aarch64": 220}


def handle(*_):
    """Do nothing, so that the process continues."""


def ready():
    print("ready", file=sys.stderr, flush=True)


def ignored():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def blocked():
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])


def unfinished():
    signal.signal(signal.SIGTERM, handle)


def taken():
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    ready()
    signal.sigwait([signal.SIGTERM])
    wait()


def late():
    signal.signal(signal.SIGTERM, lambda *_: os.fork())


def stopped():
    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGCONT, lambda *_: os.kill(os.getpid(), signal.SIGSTOP))


def in_kernel():
    signal.signal(signal.SIGTERM, handle)
    ready()
    # The parent of a vfork(2) waits in the state D; without CLONE_VM the child does not share its memory.
    if ctypes.CDLL(None).syscall(CLONE[platform.machine()], CLONE_VFORK | signal.SIGCHLD, 0, 0, 0, 0) == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    wait()


def ignored_usr1():
    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def wait():
    while True:
        signal.pause()


globals()[sys.argv[1]]()
ready()
wait()
