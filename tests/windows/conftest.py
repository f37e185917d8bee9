"""Both forms of a command, children that misbehave, and a look for what was left behind."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

if sys.platform == "win32":
    import ctypes
    import importlib.util

    from gracefulexitcmd import AsyncCmd, Cmd, Exit
    from gracefulexitcmd.windows import console

    if TYPE_CHECKING:
        from collections.abc import Callable, Iterator

        from gracefulexitcmd.cmd import BaseCmd

    HERE = Path(__file__).parent
    ACTOR = HERE / "programs" / "actor.py"
    LAUNCH = HERE / "wine" / "launch.py"

    def _module(path: Path) -> Any:
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    events = _module(HERE / "wine" / "events.py")
    wine_handles = _module(HERE / "wine" / "handles.py")

    @pytest.fixture
    def delivered(monkeypatch: pytest.MonkeyPatch) -> None:
        """CTRL_BREAK is delivered: by Windows, under Wine by a stand-in."""
        if events.is_wine():
            monkeypatch.setattr(console, "send_break", events.send_to_group)

    @pytest.fixture
    def press() -> Callable[..., None]:
        """Has a process receive Ctrl-C or Ctrl-Break: `press(pid)`, `press(pid, ctrl_c=True)`."""

        def press(pid: int, *, ctrl_c: bool = False) -> None:
            if events.is_wine():
                events.send(pid, events.CTRL_C if ctrl_c else events.CTRL_BREAK)
            else:
                if ctrl_c:
                    pytest.skip("Windows sends Ctrl-C to a whole console only")
                assert console.send_break(pid)

        return press

    @pytest.fixture(params=[Cmd, AsyncCmd], ids=["blocking", "asyncio"])
    def kind(request: pytest.FixtureRequest) -> type[BaseCmd]:
        """The form of the command."""
        form: type[BaseCmd] = request.param
        return form

    @pytest.fixture
    def result(kind: type[BaseCmd]) -> Iterator[Callable[[Any], Any]]:
        """Gives the result of a method in either form."""
        if kind is Cmd:
            yield lambda value: value
            return
        with asyncio.Runner() as runner:
            yield runner.run

    @pytest.fixture
    def start(kind: type[BaseCmd], result: Callable[[Any], Any]) -> Callable[..., BaseCmd]:
        """Starts a command: `start(argv, **options)`."""

        def start(argv: list[str], **options: Any) -> BaseCmd:
            command: Any = kind(argv, **options)
            result(command.start())
            started: BaseCmd = command
            return started

        return start

    @pytest.fixture
    def wait(result: Callable[[Any], Any]) -> Callable[[BaseCmd], Exit]:
        """Waits for a command: `wait(command)`."""

        def wait(command: Any) -> Exit:
            ended: Exit = result(command.wait())
            return ended

        return wait

    @pytest.fixture
    def actors(start: Callable[..., BaseCmd]) -> Callable[..., tuple[BaseCmd, list[psutil.Process]]]:
        """Starts an actor and those below it; returns the command and, once all are ready, those below it."""

        def actors(*arguments: str, **options: Any) -> tuple[BaseCmd, list[psutil.Process]]:
            reader, writer = os.pipe()
            try:
                command = start([sys.executable, str(ACTOR), *arguments], stderr=writer, **options)
            finally:
                os.close(writer)
            with open(reader, encoding="utf-8") as lines:
                return command, below(lines)

        return actors

    def below(lines: Any) -> list[psutil.Process]:
        """The processes that actors have started, read from their lines until the last one is ready."""
        found = []
        for line in lines:
            if line.strip() == "ready":
                break
            found.append(psutil.Process(int(line.removeprefix("child "))))
        return found

    @pytest.fixture
    def handles() -> Callable[[], int]:
        """Counts the handles that this process has open."""
        kernel32 = ctypes.WinDLL("kernel32")
        kernel32.GetCurrentProcess.restype = ctypes.c_void_p
        kernel32.GetProcessHandleCount.argtypes = [ctypes.c_void_p, ctypes.POINTER(ctypes.c_ulong)]

        def handles() -> int:
            if events.is_wine():
                return int(wine_handles.count())
            count = ctypes.c_ulong()
            assert kernel32.GetProcessHandleCount(kernel32.GetCurrentProcess(), ctypes.byref(count))
            return count.value

        return handles

    @pytest.fixture(autouse=True)
    def no_process_left(temporary: str) -> Iterator[None]:
        """Every process that a test starts has ended with the test; to ask all for their environment takes seconds."""
        yield
        left = psutil.Process().children(recursive=True)
        for process in left:
            process.kill()
        assert [process.pid for process in left] == []
