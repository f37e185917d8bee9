"""A process by a handle: its arguments, and whether it has ended."""

from __future__ import annotations

import contextlib
import ctypes
from ctypes import wintypes

from gracefulexitcmd.windows import calls

TERMINATE = 0x0001
SET_QUOTA = 0x0100
QUERY = 0x0400
SUSPEND_RESUME = 0x0800
QUERY_LIMITED = 0x1000
SYNCHRONIZE = 0x100000
"""Rights of OpenProcess; AssignProcessToJobObject needs PROCESS_TERMINATE and PROCESS_SET_QUOTA."""

MEMBER_RIGHTS = QUERY | QUERY_LIMITED | SYNCHRONIZE
LEADER_RIGHTS = TERMINATE | SET_QUOTA | SUSPEND_RESUME | QUERY_LIMITED | SYNCHRONIZE

COMMAND_LINE = 60
"""ProcessCommandLineInformation of NtQueryInformationProcess, Windows 8.1; undocumented."""

LONGEST_PATH = 32768
"""Characters."""


def open_leader(pid: int) -> int:
    """Return a handle that can assign a process to a job, resume it and wait for it. Raise OSError."""
    handle: int = calls.open_process(LEADER_RIGHTS, False, pid)
    return handle


def open_member(pid: int) -> int | None:
    """Return a handle that can wait for a process and query its name; None if it is gone or another user's."""
    try:
        handle: int = calls.open_process(MEMBER_RIGHTS, False, pid)
    except OSError:
        return None
    return handle


def has_exited(process: int) -> bool:
    """Return whether it has ended."""
    return bool(calls.wait_for_one(process, 0) == 0)


def argv(process: int) -> tuple[str, ...]:
    """Return its arguments, only its program if the system hides them, or an empty tuple."""
    with contextlib.suppress(OSError):
        return calls.split_command_line(_command_line(process))
    with contextlib.suppress(OSError):
        return (_program(process),)
    return ()


def _command_line(process: int) -> str:
    size = ctypes.sizeof(calls.UnicodeString) + 2 * LONGEST_PATH
    answer = ctypes.create_string_buffer(size)
    calls.query_process(process, COMMAND_LINE, answer, size, None)
    found = calls.UnicodeString.from_buffer(answer)
    if not found.length:
        raise OSError("the process has no command line")
    return ctypes.wstring_at(found.text, found.length // 2)


def _program(process: int) -> str:
    name = ctypes.create_unicode_buffer(LONGEST_PATH)
    calls.image_name(process, 0, name, ctypes.byref(wintypes.DWORD(LONGEST_PATH)))
    return name.value
