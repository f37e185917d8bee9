"""Writes a file that only its owner can read, whatever others may do in its directory."""

from __future__ import annotations

import os
import sys

if sys.platform == "win32":
    import ctypes
    import msvcrt
    from ctypes import POINTER, byref, c_void_p
    from ctypes.wintypes import BOOL, DWORD, HANDLE, LPCWSTR, LPWSTR
    from typing import Any

    GENERIC_WRITE = 0x40000000
    CREATE_NEW = 1
    TOKEN_QUERY = 8
    TOKEN_USER = 1
    LARGEST_USER = 256
    """Bytes of TOKEN_USER with its SID, which has at most 68."""

    class SecurityAttributes(ctypes.Structure):
        """SECURITY_ATTRIBUTES."""

        _fields_ = [("size", DWORD), ("descriptor", c_void_p), ("inherit", BOOL)]

    def _succeeded(result: Any, _call: object, _arguments: object) -> Any:
        if not result or result == HANDLE(-1).value:
            raise ctypes.WinError(ctypes.get_last_error())
        return result

    def _declared(library: ctypes.WinDLL, name: str, result: Any, *arguments: Any) -> Any:
        call = library[name]
        call.restype, call.argtypes, call.errcheck = result, arguments, _succeeded
        return call

    _kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
    _advapi32 = ctypes.WinDLL("advapi32", use_last_error=True)
    _create_file = _declared(
        _kernel32, "CreateFileW", HANDLE, LPCWSTR, DWORD, DWORD, POINTER(SecurityAttributes), DWORD, DWORD, HANDLE
    )
    _close = _declared(_kernel32, "CloseHandle", BOOL, HANDLE)
    _this_process = _declared(_kernel32, "GetCurrentProcess", HANDLE)
    _this_process.errcheck = lambda result, _call, _arguments: result  # what it returns is -1
    _free = _kernel32.LocalFree
    _free.restype, _free.argtypes = c_void_p, (c_void_p,)
    _open_token = _declared(_advapi32, "OpenProcessToken", BOOL, HANDLE, DWORD, POINTER(HANDLE))
    _token_information = _declared(
        _advapi32, "GetTokenInformation", BOOL, HANDLE, ctypes.c_int, c_void_p, DWORD, POINTER(DWORD)
    )
    _sid_text = _declared(_advapi32, "ConvertSidToStringSidW", BOOL, c_void_p, POINTER(LPWSTR))
    _descriptor_of = _declared(
        _advapi32,
        "ConvertStringSecurityDescriptorToSecurityDescriptorW",
        BOOL,
        LPCWSTR,
        DWORD,
        POINTER(c_void_p),
        c_void_p,
    )

    def _create(path: str) -> int:
        descriptor = c_void_p()
        # In SDDL: nothing is inherited, and all rights are this user's. The owner can be a group of administrators.
        _descriptor_of(f"D:P(A;;FA;;;{_user()})", 1, byref(descriptor), None)
        try:
            attributes = SecurityAttributes(ctypes.sizeof(SecurityAttributes), descriptor, False)
            handle = _create_file(path, GENERIC_WRITE, 0, byref(attributes), CREATE_NEW, 0, None)
        finally:
            _free(descriptor)
        return msvcrt.open_osfhandle(handle, os.O_WRONLY)

    def _user() -> str:
        """The SID of this process's user."""
        token, text, size = HANDLE(), LPWSTR(), DWORD()
        user = ctypes.create_string_buffer(LARGEST_USER)
        _open_token(_this_process(), TOKEN_QUERY, byref(token))
        try:
            _token_information(token, TOKEN_USER, user, LARGEST_USER, byref(size))
        finally:
            _close(token)
        _sid_text(c_void_p.from_buffer(user), byref(text))
        try:
            return text.value or ""
        finally:
            _free(text)

else:

    def _create(path: str) -> int:
        return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)


def write_private(path: str, content: str) -> None:
    """Write a new file. Raises OSError, FileExistsError where there is one already."""
    with open(_create(path), "w", encoding="utf-8", newline="") as file:
        file.write(content)
