"""The shell of a script on Windows; the choice is the same on every system."""

from __future__ import annotations

import ntpath

import pytest

from step_runner.errors import CommandError
from step_runner.runner.script import is_powershell, notice, powershell_command, powershell_text, windows_shell

OF_GIT = r"C:\Program Files\Git\bin\bash.exe"
OF_MSYS = r"C:\msys64\usr\bin\bash.exe"
OF_ANOTHER_SYSTEM = r"C:\WINDOWS\System32\bash.exe"
OF_THE_STORE = r"C:\Users\ada\AppData\Local\Microsoft\WindowsApps\bash.exe"
BESIDE_THE_SYSTEM = r"C:\WindowsTools\bash.exe"
PWSH = r"C:\Program Files\PowerShell\7\pwsh.exe"
POWERSHELL = r"C:\Windows\System32\WindowsPowerShell\v1.0\powershell.exe"


def _shell(*there: str) -> str:
    """Return the shell when only these files exist. PATH names their directories in this order, but not that of Git."""
    folders = ";".join(f'"{ntpath.dirname(path)}"' for path in there if path != OF_GIT)
    environment = {"SYSTEMROOT": r"C:\Windows", "PROGRAMFILES": r"C:\Program Files", "PATH": f";{folders};"}
    return windows_shell(set(there).__contains__, environment)


@pytest.mark.parametrize(
    ("there", "shell"),
    [
        ([PWSH, OF_GIT, OF_MSYS], OF_MSYS),
        ([OF_ANOTHER_SYSTEM, OF_THE_STORE, OF_MSYS, OF_GIT], OF_MSYS),
        ([OF_ANOTHER_SYSTEM, OF_THE_STORE, OF_GIT, PWSH], OF_GIT),
        ([OF_ANOTHER_SYSTEM, POWERSHELL, PWSH], PWSH),
        ([OF_THE_STORE, POWERSHELL], POWERSHELL),
        ([BESIDE_THE_SYSTEM], BESIDE_THE_SYSTEM),
    ],
    ids=["bash", "second bash", "bash of git", "pwsh", "powershell", "bash next to the system"],
)
def test_windows_shell_is_chosen_in_order(there: list[str], shell: str) -> None:
    assert _shell(*there) == shell


def test_windows_without_shell_is_reported() -> None:
    with pytest.raises(
        CommandError, match=r"^exec: shell not found: script needs bash, pwsh or powershell in the PATH"
    ):
        _shell(OF_ANOTHER_SYSTEM, OF_THE_STORE)


@pytest.mark.parametrize(
    ("shell", "expected"),
    [(PWSH, True), (POWERSHELL, True), ("/usr/bin/pwsh", True), (OF_GIT, False), ("/bin/sh", False)],
)
def test_powershell_is_known_by_its_name(shell: str, expected: bool) -> None:
    assert is_powershell(shell) is expected


def test_log_names_shell_of_a_script() -> None:
    assert notice(OF_GIT) == f"the script is run by {OF_GIT}"
    assert notice(PWSH) == f"bash was not found: the script is run by {PWSH}"


def test_powershell_stops_at_error_and_returns_last_status() -> None:
    """PowerShell stops at an error, and ends with the status of the last program."""
    text = powershell_text("first\nsecond").decode("utf-8-sig")
    assert text == "$ErrorActionPreference = 'Stop'; first\nsecond\nif ($LASTEXITCODE) { exit $LASTEXITCODE }\n"
    assert powershell_command(PWSH, r"C:\script.ps1")[-2:] == ("-File", r"C:\script.ps1")
