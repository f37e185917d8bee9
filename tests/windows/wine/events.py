"""Replaces the console of Windows, because Wine does not deliver console events.

Like the console host of Windows, it starts a thread at `CtrlRoutine` of kernelbase in the receiver.
"""

from __future__ import annotations

import contextlib
import ctypes
from ctypes import wintypes
from typing import Any

import psutil

CTRL_C, CTRL_BREAK = 0, 1

ALL_ACCESS = 0x1FFFFF
PARAMETERS_IN_PEB = 0x20
CONSOLE_FLAGS = 0x18
IGNORE_CTRL_C = 1

_kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
_ntdll = ctypes.WinDLL("ntdll")


def is_wine() -> bool:
    """Return whether this process runs under Wine."""
    return hasattr(_ntdll, "wine_get_version")


def send(pid: int, event: int) -> None:
    """Send a console event to a process. Raise OSError if it has ended."""
    assert is_wine()
    process = _open(ALL_ACCESS, False, pid)
    try:
        _heed_ctrl_c(process)
        _close(_start_thread(process, None, 0, _address(_module("kernelbase.dll"), b"CtrlRoutine"), event, 0, None))
    finally:
        _close(process)


def send_to_group(group: int) -> bool:
    """Send CTRL_BREAK to a process, alive or not, and its descendants, except those in other console groups.

    Wine does not show the group of a process, so a program outside of its parent's group has the argument `own-group`.
    """
    members = _members(group)
    for pid in members:
        with contextlib.suppress(OSError):
            send(pid, CTRL_BREAK)
    return bool(members)


def _members(group: int) -> list[int]:
    parents = {process.pid: process.ppid() for process in psutil.process_iter()}
    found = [group]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid and not _has_own_group(child)]
    return [pid for pid in found if pid in parents]


def _has_own_group(pid: int) -> bool:
    try:
        argv = psutil.Process(pid).cmdline()
    except (psutil.Error, OSError):
        return False
    return "own-group" in argv[: argv.index("with") if "with" in argv else None]


def _heed_ctrl_c(process: int) -> None:
    """Clear the flag that a group ignores Ctrl-C: in Wine, unlike in Windows, it blocks all events."""
    basic = (ctypes.c_size_t * 6)()
    if _ntdll.NtQueryInformationProcess(process, 0, basic, ctypes.sizeof(basic), None):
        raise OSError("NtQueryInformationProcess")
    parameters, flags = ctypes.c_size_t(), wintypes.ULONG()
    _read(process, basic[1] + PARAMETERS_IN_PEB, ctypes.byref(parameters), ctypes.sizeof(parameters), None)
    _read(process, parameters.value + CONSOLE_FLAGS, ctypes.byref(flags), ctypes.sizeof(flags), None)
    if flags.value & IGNORE_CTRL_C:
        flags.value &= ~IGNORE_CTRL_C
        _write(process, parameters.value + CONSOLE_FLAGS, ctypes.byref(flags), ctypes.sizeof(flags), None)


def _true(result: Any, _call: object, _arguments: object) -> Any:
    if not result:
        raise ctypes.WinError(ctypes.get_last_error())
    return result


def _call(name: str, result: Any, *arguments: Any) -> Any:
    function = _kernel32[name]
    function.restype, function.argtypes, function.errcheck = result, arguments, _true
    return function


_pointer, _size = ctypes.c_void_p, ctypes.c_size_t
_module = _call("GetModuleHandleW", wintypes.HMODULE, wintypes.LPCWSTR)
_address = _call("GetProcAddress", _pointer, wintypes.HMODULE, ctypes.c_char_p)
_open = _call("OpenProcess", wintypes.HANDLE, wintypes.DWORD, wintypes.BOOL, wintypes.DWORD)
_close = _call("CloseHandle", wintypes.BOOL, wintypes.HANDLE)
_read = _call("ReadProcessMemory", wintypes.BOOL, wintypes.HANDLE, _pointer, _pointer, _size, _pointer)
_write = _call("WriteProcessMemory", wintypes.BOOL, wintypes.HANDLE, _pointer, _pointer, _size, _pointer)
_start_thread = _call(
    "CreateRemoteThread",
    wintypes.HANDLE,
    wintypes.HANDLE,
    _pointer,
    _size,
    _pointer,
    _pointer,
    wintypes.DWORD,
    _pointer,
)
_ntdll.NtQueryInformationProcess.argtypes = [wintypes.HANDLE, ctypes.c_int, _pointer, wintypes.ULONG, _pointer]
