"""What is said of processes."""

from __future__ import annotations

import pytest

from gracefulexitcmd.exit import EndedProcess, Holder


@pytest.mark.parametrize(
    ("argv", "program", "command"),
    [
        (("/bin/sleep", "a b"), "sleep", "/bin/sleep 'a b'"),
        (("evil\nEnded 1 process\x1b[31m", "\x07"), "evil\\nEnded 1 process\\x1b[31m", None),
        (("\udcff ü",), "\\udcff ü", "'\\udcff ü'"),
        ((), "unknown", ""),
    ],
    ids=["usual", "commands to a terminal", "no text", "gone too soon"],
)
def test_a_process_is_named_on_one_line_that_commands_no_terminal(
    argv: tuple[str, ...], program: str, command: str | None
) -> None:
    """It may call itself anything."""
    ended = EndedProcess(7, argv, "group", "SIGKILL")
    assert ended.program == program
    assert ended.command == Holder(7, argv).command
    assert ended.command.isprintable()
    assert command in (None, ended.command)
