"""Counts the open handles of this process under Wine, whose GetProcessHandleCount returns 0 for all processes."""

from __future__ import annotations

import ctypes
import os
import struct

SYSTEM_EXTENDED_HANDLE_INFORMATION = 64

HEAD = struct.Struct("QQ")
HANDLE = struct.Struct("QQQIHHII")
"""SYSTEM_HANDLE_TABLE_ENTRY_INFO_EX: the object, the process, the handle, and unused fields."""

ROOM = 1 << 22
"""The size, in bytes, of the table with the handles of all processes."""


def count() -> int:
    """Return the number of open handles of this process."""
    table = ctypes.create_string_buffer(ROOM)
    status = ctypes.WinDLL("ntdll").NtQuerySystemInformation(SYSTEM_EXTENDED_HANDLE_INFORMATION, table, ROOM, None)
    assert status == 0
    number, _ = HEAD.unpack_from(table)
    entries = (HANDLE.unpack_from(table, HEAD.size + HANDLE.size * index) for index in range(number))
    return sum(process == os.getpid() for _, process, *_ in entries)
