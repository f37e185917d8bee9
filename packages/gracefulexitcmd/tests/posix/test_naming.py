"""The name of a process that has set its own title."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import psutil
import pytest

from gracefulexitcmd import Cmd
from gracefulexitcmd.exit import EndedProcess
from gracefulexitcmd.posix import naming

if TYPE_CHECKING:
    from collections.abc import Callable

    from gracefulexitcmd import Exit
    from gracefulexitcmd.cmd import BaseCmd

    Launch = Callable[..., tuple[BaseCmd, str]]
    Wait = Callable[[BaseCmd], Exit]


@pytest.mark.parametrize(
    ("argv", "exe", "comm", "name"),
    [
        (["php-fpm: master process (/etc/php/8.2/fpm/php-fpm.conf)"], "/usr/sbin/php-fpm8.2", "php-fpm8.2", "php-fpm"),
        (["sshd: ci@pts/0"], "", "sshd", "sshd"),
        (["gunicorn: master [app]"], "/usr/bin/python3.11", "gunicorn", "gunicorn"),
        (["/opt/chrome/chrome --type=renderer --token=1"], "/opt/chrome/chrome", "chrome", "chrome"),
        (["--type=renderer --token=1"], "/usr/lib/firefox/firefox", "Web Content", "firefox"),
        (["--token=s3cret"], "/opt/agent (deleted)", "agent", "agent"),
        (["worker --password s3cret"], "/usr/bin/python3.11", "celery", "celery"),
        (["worker --password s3cret"], "", "celery", "celery"),
        (["TOKEN=s3cret worker"], "", "", ""),
        (["/opt/My App/run", "--fast"], "/opt/My App/run", "run", "run"),
        (["", "x"], "/bin/sleep", "sleep", "sleep"),
    ],
)
def test_title_is_replaced_by_name_of_program(argv: list[str], exe: str, comm: str, name: str) -> None:
    """Its words may be secrets, so none is taken as a name."""
    assert naming.may_be_title(argv)
    assert naming.program(argv, exe, comm) == name


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        (["python3", "script.py"], "python3"),
        (["/bin/bash", "x.sh"], "bash"),
        (["-bash"], "bash"),
        (["[kworker]"], None),
    ],
)
def test_ordinary_arguments_name_their_program(argv: list[str], name: str | None) -> None:
    assert not naming.may_be_title(argv)
    assert EndedProcess(7, tuple(argv), "group", "SIGKILL").program == (name or argv[0])


@pytest.mark.parametrize(
    ("title", "name"),
    [("sshd: ci@pts/0", "sshd"), ("--type=renderer --token=s3cret", "python"), ("server: x", "server")],
)
def test_process_with_overwritten_arguments_is_named(launch: Launch, wait: Wait, title: str, name: str) -> None:
    command, _ = launch("titled.py", title, "longer than the title, so that it is followed by zeros", grace=0)
    command.cancel()
    (ended,) = wait(command).census
    assert ended.argv[0].startswith(title)
    assert ended.program.startswith(name)
    assert "s3cret" not in ended.program


def test_process_with_another_first_word_has_name_of_program() -> None:
    title = "my title --token=s3cret"
    with Cmd(["bash", "-c", f"exec -a '{title}' sleep 1000"], grace=0) as command:
        while psutil.Process(command.pid).cmdline()[:1] != [title]:
            time.sleep(0.01)
    assert command.exit is not None
    assert [each.program for each in command.exit.census] == ["sleep"]
