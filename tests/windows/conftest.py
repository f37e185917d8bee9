"""Fixtures for both forms of a command, for children that misbehave, and for the search for survivors."""

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
        """Let CTRL_BREAK reach its targets: by Windows, or under Wine by a stand-in."""
        if events.is_wine():
            monkeypatch.setattr(console, "send_break", events.send_to_group)

    @pytest.fixture
    def press() -> Callable[..., None]:
        """Return a function that sends Ctrl-Break or Ctrl-C: `press(pid)`, `press(pid, ctrl_c=True)`."""

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
        """Return the form of the command."""
        form: type[BaseCmd] = request.param
        return form

    @pytest.fixture
    def result(kind: type[BaseCmd]) -> Iterator[Callable[[Any], Any]]:
        """Return a function that returns the result of a method in either form."""
        if kind is Cmd:
            yield lambda value: value
            return
        with asyncio.Runner() as runner:
            yield runner.run

    @pytest.fixture
    def start(kind: type[BaseCmd], result: Callable[[Any], Any]) -> Callable[..., BaseCmd]:
        """Return a function that starts a command: `start(argv, **options)`."""

        def start(argv: list[str], **options: Any) -> BaseCmd:
            command: Any = kind(argv, **options)
            result(command.start())
            started: BaseCmd = command
            return started

        return start

    @pytest.fixture
    def wait(result: Callable[[Any], Any]) -> Callable[[BaseCmd], Exit]:
        """Return a function that waits for a command: `wait(command)`."""

        def wait(command: Any) -> Exit:
            ended: Exit = result(command.wait())
            return ended

        return wait

    @pytest.fixture
    def actors(start: Callable[..., BaseCmd]) -> Callable[..., tuple[BaseCmd, list[psutil.Process]]]:
        """Return a function that starts actors; it returns the command and, once all are ready, the descendants."""

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
        """Return the children of actors, read from their lines until the last one is ready."""
        found = []
        for line in lines:
            if line.strip() == "ready":
                break
            found.append(psutil.Process(int(line.removeprefix("child "))))
        return found

    @pytest.fixture
    def handles() -> Callable[[], int]:
        """Return a function that counts the open handles of this process."""
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
        """Assert that no descendant outlives the test; reading the environments of all processes would take seconds."""
        yield
        left = psutil.Process().children(recursive=True)
        for process in left:
            process.kill()
        assert [process.pid for process in left] == []
