"""Opens files on Windows with options that Python's own functions lack."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    import ctypes
    import msvcrt
    import os
    from ctypes import POINTER, byref, c_void_p
    from ctypes.wintypes import BOOL, DWORD, HANDLE, LPCWSTR
    from typing import Any

    GENERIC_READ = 0x80000000
    GENERIC_WRITE = 0x40000000
    SHARE_ALL = 0x7
    """FILE_SHARE_READ, FILE_SHARE_WRITE, FILE_SHARE_DELETE: other processes may use and remove the file meanwhile."""
    CREATE_NEW = 1
    OPEN_EXISTING = 3

    class SecurityAttributes(ctypes.Structure):
        """SECURITY_ATTRIBUTES."""

        _fields_ = [("size", DWORD), ("descriptor", c_void_p), ("inherit", BOOL)]

    def declared(library: ctypes.WinDLL, name: str, result: Any, *arguments: Any) -> Any:
        """Return a call with the types of its result and arguments; the call raises OSError when it fails."""
        call = library[name]
        call.restype, call.argtypes, call.errcheck = result, arguments, _succeeded
        return call

    def _succeeded(result: Any, _call: object, _arguments: object) -> Any:
        if not result or result == HANDLE(-1).value:
            raise ctypes.WinError(ctypes.get_last_error())
        return result

    _create_file = declared(
        ctypes.WinDLL("kernel32", use_last_error=True),
        "CreateFileW",
        HANDLE,
        LPCWSTR,
        DWORD,
        DWORD,
        POINTER(SecurityAttributes),
        DWORD,
        DWORD,
        HANDLE,
    )

    def open_file(path: str, access: int, share: int, disposition: int, security: c_void_p | None = None) -> int:
        """Open a file; return a descriptor that is not inherited. A new file gets `security`. Raise OSError."""
        attributes = SecurityAttributes(ctypes.sizeof(SecurityAttributes), security, False)
        handle = _create_file(path, access, share, byref(attributes), disposition, 0, None)
        return msvcrt.open_osfhandle(handle, os.O_RDONLY if access == GENERIC_READ else os.O_WRONLY)
