"""A Job Object: knows every process that was born in it, and can end them all at once."""

from __future__ import annotations

import ctypes
from ctypes import wintypes

from gracefulexitcmd.windows import calls

BASIC_PROCESS_ID_LIST = 3
EXTENDED_LIMITS = 9
"""Of JOBOBJECTINFOCLASS, winnt.h."""

KILL_ON_JOB_CLOSE = 0x2000
"""JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE."""

KILLED = 128 + 9
"""The exit code of processes that a job ends: what a shell shows for SIGKILL elsewhere."""

FEW = 64
"""Processes for which there is room at the first look."""


class JobObject:
    """A job that ends all its processes when it is closed, or when this process dies, unless they were released.

    No process can leave it: breaking away is not allowed. A process may be in several jobs, each in the one before.
    """

    def __init__(self) -> None:
        self._handle: int | None = None
        self._handle = calls.create_job(None, None)
        self._limit(KILL_ON_JOB_CLOSE)

    def __del__(self) -> None:
        self.close()

    def assign(self, process: int) -> None:
        """Put a process into it, by a handle; what that starts from now on is in it too."""
        calls.assign_process(self._handle, process)

    def processes(self) -> list[int]:
        """The numbers of the processes that are alive in it; none when it was closed."""
        room = FEW
        while self._handle is not None:
            assigned, listed = self._listed(room)
            if assigned <= len(listed):
                return listed
            room = 2 * assigned
        return []

    def holds(self, process: int) -> bool:
        """Whether a process is in it, by a handle."""
        answer = wintypes.BOOL()
        calls.is_process_in_job(process, self._handle, ctypes.byref(answer))
        return bool(answer)

    def terminate(self) -> None:
        """End all its processes."""
        calls.terminate_job(self._handle, KILLED)

    def release(self) -> None:
        """Let its processes live on when it is closed."""
        self._limit(0)

    def close(self) -> None:
        """Close it, which ends its processes unless they were released; it may be closed twice."""
        if self._handle is not None:
            handle, self._handle = self._handle, None
            calls.close_handle(handle)

    def _limit(self, flags: int) -> None:
        limits = calls.ExtendedLimits()
        limits.basic.flags = flags
        calls.set_job_information(self._handle, EXTENDED_LIMITS, ctypes.byref(limits), ctypes.sizeof(limits))

    def _listed(self, room: int) -> tuple[int, list[int]]:
        """How many processes it has, and as many of their numbers as there is room for."""

        class ProcessIdList(ctypes.Structure):
            _fields_ = [
                ("assigned", wintypes.DWORD),
                ("listed", wintypes.DWORD),
                ("numbers", ctypes.c_size_t * room),
            ]

        found = ProcessIdList()
        try:
            calls.query_job(self._handle, BASIC_PROCESS_ID_LIST, ctypes.byref(found), ctypes.sizeof(found), None)
        except OSError as error:
            if error.winerror != calls.ERROR_MORE_DATA:
                raise
        return found.assigned, found.numbers[: found.listed]
