"""Which shell runs a script on Windows; what stands in the table is decided the same on every system."""

from __future__ import annotations

import pytest

from step_runner.errors import CommandError
from step_runner.runner.script import is_powershell, powershell_command, powershell_text, windows_shell

ENVIRONMENT = {"SYSTEMROOT": r"C:\Windows", "PROGRAMFILES": r"C:\Program Files"}

OF_GIT = r"C:\Program Files\Git\bin\bash.exe"
OF_MSYS = r"C:\msys64\usr\bin\bash.EXE"
OF_ANOTHER_SYSTEM = r"C:\WINDOWS\System32\bash.exe"
PWSH = r"C:\Program Files\PowerShell\7\pwsh.EXE"
POWERSHELL = r"C:\Windows\System32\WindowsPowerShell\v1.0\powershell.EXE"


@pytest.mark.parametrize(
    ("found", "shell"),
    [
        ({"bash": OF_MSYS, OF_GIT: OF_GIT, "pwsh": PWSH}, OF_MSYS),
        ({"bash": OF_ANOTHER_SYSTEM, OF_GIT: OF_GIT, "pwsh": PWSH}, OF_GIT),
        ({"bash": OF_ANOTHER_SYSTEM, "pwsh": PWSH, "powershell": POWERSHELL}, PWSH),
        ({"powershell": POWERSHELL}, POWERSHELL),
        ({"bash": r"C:\WindowsTools\bash.exe"}, r"C:\WindowsTools\bash.exe"),
    ],
    ids=["bash", "bash of git", "pwsh", "powershell", "bash beside the system"],
)
def test_shell_of_windows(found: dict[str, str], shell: str) -> None:
    assert windows_shell(found.get, ENVIRONMENT) == shell


def test_no_shell_of_windows() -> None:
    with pytest.raises(
        CommandError, match=r"^exec: shell not found: script needs bash, pwsh or powershell in the PATH"
    ):
        windows_shell({"bash": OF_ANOTHER_SYSTEM}.get, ENVIRONMENT)


@pytest.mark.parametrize(
    ("shell", "expected"),
    [(PWSH, True), (POWERSHELL, True), ("/usr/bin/pwsh", True), (OF_GIT, False), ("/bin/sh", False)],
)
def test_powershell_is_known_by_its_name(shell: str, expected: bool) -> None:
    assert is_powershell(shell) is expected


def test_powershell_stops_at_an_error_and_ends_with_the_status_of_the_last_program() -> None:
    text = powershell_text("first\nsecond").decode("utf-8-sig")
    assert text == "$ErrorActionPreference = 'Stop'; first\nsecond\nif ($LASTEXITCODE) { exit $LASTEXITCODE }\n"
    assert powershell_command(PWSH, r"C:\script.ps1")[-2:] == ("-File", r"C:\script.ps1")
