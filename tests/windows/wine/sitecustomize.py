"""Adds to each Python of the tests under Wine the behaviour of Windows that Wine lacks.

`.ci/windows` installs it into that Python; the product does not depend on it.
"""

import sys

if sys.platform == "win32":
    import _winapi
    import ctypes
    import signal

    # Wine crashes at the query for the version of Windows that `platform` makes.
    sys.modules["_wmi"] = None

    EVENTS = {0: signal.SIGINT, 1: signal.SIGBREAK}
    CONTROL_C_EXIT = ctypes.c_uint(0xC000013A)

    @ctypes.WINFUNCTYPE(ctypes.c_int, ctypes.c_uint)
    def _on_event(event):
        number = EVENTS.get(event)
        if number is None:
            return 0
        handler = signal.getsignal(number)
        if handler is signal.SIG_DFL:
            ctypes.windll.kernel32.ExitProcess(CONTROL_C_EXIT)
        if handler is not signal.SIG_IGN:
            signal.raise_signal(number)
        return 1

    if hasattr(ctypes.WinDLL("ntdll"), "wine_get_version"):
        sys._wine_console_bridge = _on_event  # kept alive
        ctypes.windll.kernel32.SetConsoleCtrlHandler(_on_event, 1)

    INTERNAL_ERROR = 1359  # ERROR_INTERNAL_ERROR, winerror.h
    _really_create_process = _winapi.CreateProcess

    def _create_process(*arguments):
        """Retry once: under Wine the start of one process in many hundreds fails, and succeeds a moment later."""
        try:
            return _really_create_process(*arguments)
        except OSError as error:
            if error.winerror != INTERNAL_ERROR:
                raise
            return _really_create_process(*arguments)

    _winapi.CreateProcess = _create_process
