"""The calls of the Windows API with their types; each raises OSError when it fails, unless a comment says otherwise."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, c_char_p, c_size_t, c_void_p, c_wchar_p
from ctypes.wintypes import BOOL, DWORD, HANDLE, LARGE_INTEGER, LPCWSTR, LPWSTR, ULONG

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

Call: TypeAlias = "Callable[..., Any]"

INFINITE = 0xFFFFFFFF
INVALID_HANDLE = HANDLE(-1).value

ERROR_INVALID_HANDLE = 6
ERROR_MORE_DATA = 234
ERROR_IO_INCOMPLETE = 996
ERROR_IO_PENDING = 997

_kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
_ntdll = ctypes.WinDLL("ntdll")


class IoCounters(Structure):
    """IO_COUNTERS."""

    _fields_ = [(name, ctypes.c_ulonglong) for name in ("reads", "writes", "others", "read", "written", "other")]


class BasicLimits(Structure):
    """JOBOBJECT_BASIC_LIMIT_INFORMATION."""

    _fields_ = [
        ("process_time", LARGE_INTEGER),
        ("job_time", LARGE_INTEGER),
        ("flags", DWORD),
        ("minimum_working_set", c_size_t),
        ("maximum_working_set", c_size_t),
        ("active_processes", DWORD),
        ("affinity", c_size_t),
        ("priority", DWORD),
        ("scheduling", DWORD),
    ]


class ExtendedLimits(Structure):
    """JOBOBJECT_EXTENDED_LIMIT_INFORMATION."""

    _fields_ = [
        ("basic", BasicLimits),
        ("io", IoCounters),
        ("process_memory", c_size_t),
        ("job_memory", c_size_t),
        ("peak_process_memory", c_size_t),
        ("peak_job_memory", c_size_t),
    ]


class Overlapped(Structure):
    """OVERLAPPED; it must not move in memory until the operation completes."""

    _fields_ = [
        ("status", c_size_t),
        ("transferred", c_size_t),
        ("offset", DWORD),
        ("offset_high", DWORD),
        ("event", HANDLE),
    ]


class UnicodeString(Structure):
    """UNICODE_STRING; the lengths are in bytes."""

    _fields_ = [("length", ctypes.c_ushort), ("room", ctypes.c_ushort), ("text", c_void_p)]


def last_error() -> int:
    """Return the error number of this thread's last call."""
    return ctypes.get_last_error()


def _true(result: Any, _call: object, _arguments: object) -> Any:
    if not result:
        raise ctypes.WinError(ctypes.get_last_error())
    return result


def _valid_handle(result: Any, _call: object, _arguments: object) -> Any:
    if result == INVALID_HANDLE:
        raise ctypes.WinError(ctypes.get_last_error())
    return result


def _not_failed(result: Any, _call: object, _arguments: object) -> Any:
    if result == INFINITE:
        raise ctypes.WinError(ctypes.get_last_error())
    return result


def _nt_success(result: Any, _call: object, _arguments: object) -> Any:
    if result < 0:
        raise OSError(f"NTSTATUS 0x{result & 0xFFFFFFFF:08x}")
    return result


def _declared(library: ctypes.WinDLL, name: str, result: Any, *arguments: Any, check: Call | None = _true) -> Call:
    call = library[name]
    call.restype = result
    call.argtypes = arguments
    if check is not None:
        call.errcheck = check
    return call


close_handle = _declared(_kernel32, "CloseHandle", BOOL, HANDLE)

create_job = _declared(_kernel32, "CreateJobObjectW", HANDLE, c_void_p, LPCWSTR)
assign_process = _declared(_kernel32, "AssignProcessToJobObject", BOOL, HANDLE, HANDLE)
set_job_information = _declared(_kernel32, "SetInformationJobObject", BOOL, HANDLE, ctypes.c_int, c_void_p, DWORD)
query_job = _declared(
    _kernel32, "QueryInformationJobObject", BOOL, HANDLE, ctypes.c_int, c_void_p, DWORD, POINTER(DWORD)
)
is_process_in_job = _declared(_kernel32, "IsProcessInJob", BOOL, HANDLE, HANDLE, POINTER(BOOL))
terminate_job = _declared(_kernel32, "TerminateJobObject", BOOL, HANDLE, ctypes.c_uint)

open_process = _declared(_kernel32, "OpenProcess", HANDLE, DWORD, BOOL, DWORD)
image_name = _declared(_kernel32, "QueryFullProcessImageNameW", BOOL, HANDLE, DWORD, LPWSTR, POINTER(DWORD))

# Undocumented, but present since Windows XP. The documented way needs the thread's handle, which `subprocess` closes. A
# snapshot of all threads of the system would find the thread again, but takes milliseconds and may find a wrong one.
resume_process = _declared(_ntdll, "NtResumeProcess", ctypes.c_long, HANDLE, check=_nt_success)
query_process = _declared(
    _ntdll,
    "NtQueryInformationProcess",
    ctypes.c_long,
    HANDLE,
    ctypes.c_int,
    c_void_p,
    ULONG,
    POINTER(ULONG),
    check=_nt_success,
)

generate_console_event = _declared(_kernel32, "GenerateConsoleCtrlEvent", BOOL, DWORD, DWORD)
local_free = _declared(_kernel32, "LocalFree", HANDLE, c_void_p, check=None)

create_event = _declared(_kernel32, "CreateEventW", HANDLE, c_void_p, BOOL, BOOL, LPCWSTR)
set_event = _declared(_kernel32, "SetEvent", BOOL, HANDLE)
reset_event = _declared(_kernel32, "ResetEvent", BOOL, HANDLE)
wait_for_one = _declared(_kernel32, "WaitForSingleObject", DWORD, HANDLE, DWORD, check=_not_failed)
wait_for_any = _declared(
    _kernel32, "WaitForMultipleObjects", DWORD, DWORD, POINTER(HANDLE), BOOL, DWORD, check=_not_failed
)

create_pipe = _declared(
    _kernel32,
    "CreateNamedPipeW",
    HANDLE,
    LPCWSTR,
    DWORD,
    DWORD,
    DWORD,
    DWORD,
    DWORD,
    DWORD,
    c_void_p,
    check=_valid_handle,
)
create_file = _declared(
    _kernel32, "CreateFileW", HANDLE, LPCWSTR, DWORD, DWORD, c_void_p, DWORD, DWORD, HANDLE, check=_valid_handle
)
# These do not raise: ERROR_IO_PENDING is not a failure, so the caller asks `last_error`.
read_file = _declared(_kernel32, "ReadFile", BOOL, HANDLE, c_void_p, DWORD, c_void_p, POINTER(Overlapped), check=None)
write_file = _declared(_kernel32, "WriteFile", BOOL, HANDLE, c_char_p, DWORD, c_void_p, POINTER(Overlapped), check=None)
overlapped_result = _declared(
    _kernel32, "GetOverlappedResult", BOOL, HANDLE, POINTER(Overlapped), POINTER(DWORD), BOOL, check=None
)
cancel_io = _declared(_kernel32, "CancelIoEx", BOOL, HANDLE, POINTER(Overlapped), check=None)


def split_command_line(line: str) -> tuple[str, ...]:
    """Split a command line by the rules of CommandLineToArgvW."""
    # Most programs never need this library, and it is slow to load.
    shell32 = ctypes.WinDLL("shell32", use_last_error=True)
    split = _declared(shell32, "CommandLineToArgvW", POINTER(c_wchar_p), LPCWSTR, POINTER(ctypes.c_int))
    count = ctypes.c_int()
    words = split(line, ctypes.byref(count))
    try:
        return tuple(words[number] or "" for number in range(count.value))
    finally:
        local_free(words)
