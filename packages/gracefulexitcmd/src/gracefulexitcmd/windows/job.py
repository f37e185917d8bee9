"""A Job Object: lists each process that was started in it, and can kill them all at once."""

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
"""The number of processes for which the first query has room."""


class JobObject:
    """A job that kills all its processes when it is closed, or when this process dies, unless they were released.

    No process can leave it: breakaway is not allowed. A process may be in several nested jobs.
    """

    def __init__(self) -> None:
        self._handle: int | None = None
        self._handle = calls.create_job(None, None)
        self._limit(KILL_ON_JOB_CLOSE)

    def __del__(self) -> None:
        self.close()

    def assign(self, process: int) -> None:
        """Assign a process to it, by a handle; the later children of that process are in it, too. Raise OSError."""
        calls.assign_process(self._handle, process)

    def processes(self) -> list[int]:
        """Return the IDs of its live processes; empty after `close`."""
        room = FEW
        while self._handle is not None:
            assigned, listed = self._listed(room)
            if assigned <= len(listed):
                return listed
            room = 2 * assigned
        return []

    def holds(self, process: int) -> bool:
        """Return whether a process is in it, by a handle."""
        answer = wintypes.BOOL()
        calls.is_process_in_job(process, self._handle, ctypes.byref(answer))
        return bool(answer)

    def terminate(self) -> None:
        """Kill all its processes."""
        calls.terminate_job(self._handle, KILLED)

    def release(self) -> None:
        """Keep its processes running when it is closed."""
        self._limit(0)

    def close(self) -> None:
        """Close it, which kills its processes unless they were released; a second close does nothing."""
        if self._handle is not None:
            handle, self._handle = self._handle, None
            calls.close_handle(handle)

    def _limit(self, flags: int) -> None:
        limits = calls.ExtendedLimits()
        limits.basic.flags = flags
        calls.set_job_information(self._handle, EXTENDED_LIMITS, ctypes.byref(limits), ctypes.sizeof(limits))

    def _listed(self, room: int) -> tuple[int, list[int]]:
        """Return the number of its processes, and at most `room` of their IDs."""

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
