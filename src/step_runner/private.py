"""Files and directories of one user: no other user can read these files, or create files in these directories."""

from __future__ import annotations

import contextlib
import os
import stat
import sys

SESSION_VARIABLE = "XDG_RUNTIME_DIR"
SESSIONS = "/run/user"
"""The parent of the directories of login sessions, systemd(1); a service of the same user may lack the variable."""

if sys.platform == "win32":
    import ctypes
    import msvcrt
    from ctypes import POINTER, byref, c_void_p
    from ctypes.wintypes import BOOL, DWORD, HANDLE, LPCWSTR, LPWSTR

    from step_runner.windows_file import CREATE_NEW, GENERIC_WRITE, declared, open_file

    TOKEN_QUERY = 8
    TOKEN_USER = 1
    SE_FILE_OBJECT = 1
    OWNER_SECURITY_INFORMATION = 1
    ADMINISTRATORS = "S-1-5-32-544"
    SYSTEM = "S-1-5-18"
    LARGEST_USER = 256
    """Bytes: enough for TOKEN_USER with its SID, which has at most 68."""

    _kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
    _advapi32 = ctypes.WinDLL("advapi32", use_last_error=True)
    _close = declared(_kernel32, "CloseHandle", BOOL, HANDLE)
    _this_process = declared(_kernel32, "GetCurrentProcess", HANDLE)
    _this_process.errcheck = lambda result, _call, _arguments: result  # it returns -1, a pseudo handle
    _free = _kernel32.LocalFree
    _free.restype, _free.argtypes = c_void_p, (c_void_p,)
    _open_token = declared(_advapi32, "OpenProcessToken", BOOL, HANDLE, DWORD, POINTER(HANDLE))
    _token_information = declared(
        _advapi32, "GetTokenInformation", BOOL, HANDLE, ctypes.c_int, c_void_p, DWORD, POINTER(DWORD)
    )
    _sid_text = declared(_advapi32, "ConvertSidToStringSidW", BOOL, c_void_p, POINTER(LPWSTR))
    _security_of = _advapi32.GetSecurityInfo
    _security_of.restype = DWORD
    _security_of.argtypes = (HANDLE, ctypes.c_int, DWORD, *[POINTER(c_void_p)] * 5)
    _descriptor_of = declared(
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
        # In SDDL: inherit nothing, grant all rights to this user. It names the user's SID, because the owner of a file
        # can be the group of administrators.
        _descriptor_of(f"D:P(A;;FA;;;{_user()})", 1, byref(descriptor), None)
        try:
            return open_file(path, GENERIC_WRITE, 0, CREATE_NEW, descriptor)
        finally:
            _free(descriptor)

    def _user() -> str:
        """Return the SID of this process's user."""
        token, size = HANDLE(), DWORD()
        user = ctypes.create_string_buffer(LARGEST_USER)
        _open_token(_this_process(), TOKEN_QUERY, byref(token))
        try:
            _token_information(token, TOKEN_USER, user, LARGEST_USER, byref(size))
        finally:
            _close(token)
        return _text(c_void_p.from_buffer(user))

    def _text(sid: c_void_p) -> str:
        text = LPWSTR()
        _sid_text(sid, byref(text))
        try:
            return text.value or ""
        finally:
            _free(text)

    def is_trusted(descriptor: int) -> bool:
        """Return whether an open file belongs to this user, to the administrators or to the system."""
        handle, owner, security = msvcrt.get_osfhandle(descriptor), c_void_p(), c_void_p()
        rest = (byref(owner), None, None, None, byref(security))
        if _security_of(handle, SE_FILE_OBJECT, OWNER_SECURITY_INFORMATION, *rest):
            return False
        try:
            return _text(owner) in (_user(), ADMINISTRATORS, SYSTEM)
        finally:
            _free(security)

    def session() -> str | None:
        """Return None: Windows has none, and its directory for temporary files belongs to the user."""
        return None

else:

    def _create(path: str) -> int:
        return os.open(path, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY | os.O_CLOEXEC, 0o600)

    def is_trusted(descriptor: int) -> bool:
        """Return whether an open file belongs to this user or to root."""
        return os.fstat(descriptor).st_uid in (os.getuid(), 0)

    def session() -> str | None:
        """Return the directory of this user's login session; None without one, or if its variable is empty."""
        directory = os.environ.get(SESSION_VARIABLE, f"{SESSIONS}/{os.getuid()}")
        return directory if os.path.isabs(directory) and is_private(directory) else None

    def is_private(directory: str) -> bool:
        """Return whether this is a directory in which only this user can create files."""
        with contextlib.suppress(OSError):
            status = os.stat(directory)
            return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o022
        return False


def create(path: str, content: bytes) -> None:
    """Write a new file. Raise OSError, and FileExistsError if the name is in use."""
    with open(_create(path), "wb") as file:
        file.write(content)


def replace(path: str, content: bytes, mode: int | None = None) -> None:
    """Write a file and put it atomically in the place of any file of that name; replace a link, do not follow it.

    A `mode` opens the file to other users, too. Raise OSError, also if a directory has the name.
    """
    made = os.path.join(os.path.dirname(path), f".step-runner-{os.urandom(16).hex()}")
    try:
        create(made, content)
        if mode is not None:
            os.chmod(made, mode)
        os.replace(made, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(made)
        raise
