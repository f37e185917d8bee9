"""A command that ends gracefully, for callers that block."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
from functools import partial

from gracefulexitcmd import clock
from gracefulexitcmd.container import opened
from gracefulexitcmd.duration import check_seconds
from gracefulexitcmd.execution import Execution
from gracefulexitcmd.exit import Exit, Out, shown
from gracefulexitcmd.handlers import HandlersHeldBack
from gracefulexitcmd.ladder import Ladder
from gracefulexitcmd.request import GRACE, Request, Stopping, Stream, StrPath
from gracefulexitcmd.sequence import Stage, StageLike, stages, total
from gracefulexitcmd.system import CommandRun
from gracefulexitcmd.typed import Generic

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from types import TracebackType
    from typing import IO, Any, Literal, Self, Unpack, overload

    from gracefulexitcmd import Container, ManualContainer
    from gracefulexitcmd.exit import SignalSent
    from gracefulexitcmd.options import Options
    from gracefulexitcmd.text import Text

LAST_MOMENT = 0.1
"""Seconds that a command whose output has ended gets to exit by itself when its block is left."""

AT_ONCE = 0.005
"""Seconds that a reader waits for the pipe alone."""


PLAIN: tuple[Stage, ...] = (Stage(),)
"""The stop sequence of nearly every command."""


class Stoppable(Generic[Out]):
    """A run that can be stopped."""

    _execution: Execution

    @property
    def exit(self) -> Exit[Out] | None:
        """Return how it ended, None while it runs. Any thread may call this at any time; it never waits."""
        if self._execution.exit is None:
            with HandlersHeldBack():
                self._execution.refresh()
        return self._execution.exit

    def poll(self) -> Exit[Out] | None:
        """Return how it ended, None while it runs: `exit` under its name in subprocess."""
        return self.exit

    @property
    def signals(self) -> tuple[SignalSent, ...]:
        """Return the signals sent so far, in order. Any thread may call this at any time."""
        return self._execution.signals

    def cancel(self, *, grace: float | None = None, hurried: str | None = None) -> None:
        """Stop it: send the stop signal and SIGCONT now, and SIGKILL after `grace` seconds.

        May be called at any time, any number of times, and from any thread or signal handler. It never waits, and
        raises only ValueError, if `grace` is not a valid time. Before the start it prevents the start; after the end it
        does nothing. A second call can only shorten the delay; `hurried` is the reason for that in the `Exit`. The
        thread or task that waits for the end sends SIGKILL.
        """
        with HandlersHeldBack():
            self._execution.stop(grace, hurried)


def drive(execution: Execution, until: float | None = None, *, begin: bool = False) -> None:
    """Run an execution to its end, and do what is due meanwhile; with `begin` start it first.

    Collect its output, even from a pipe that a caller has read so far: otherwise the end of the pipe would go
    unnoticed. Return at the latest at `until`, a time of the clock in seconds.
    """
    if not begin:
        execution.collect()

    def done() -> bool:
        return execution.exit is not None or (until is not None and clock.now() >= until)

    attend(execution, done, until, begin=begin)


def attend(execution: Execution, done: Callable[[], bool], until: float | None = None, *, begin: bool = False) -> None:
    """Wait for events and do what is due until `done`, which is true at the latest when the run has ended.

    A signal handler that raises can interrupt only the wait itself.
    """
    with HandlersHeldBack() as held_back:
        poller = execution.enter(begin=begin)
        try:
            while not done():
                assert poller is not None
                execution.advance(held_back.interruptible(poller.wait, seconds_left(execution.deadline, until)))
        finally:
            if poller is not None:
                execution.leave()


def seconds_left(*times: float | None) -> float | None:
    """Return the seconds until the earliest of some times of the clock; None if no time is given."""
    given = [at for at in times if at is not None]
    return max(0.0, min(given) - clock.now()) if given else None


def ended(execution: Execution) -> Exit[Any]:
    """Return how a run ended. Raise UnicodeDecodeError when its output is not valid text in the requested encoding."""
    assert execution.exit is not None
    if execution.undecodable is not None:
        raise execution.undecodable
    return execution.exit


class Waitable(Stoppable[Out]):
    """A run that a thread can wait for."""

    def wait(self, timeout: float | None = None) -> Exit[Out]:
        """Wait for the end and return it as an `Exit`; any number of threads may wait.

        Collect the output of its pipes meanwhile. Raise TimeoutError after `timeout` seconds; the command goes on.
        Raise RuntimeError before the start, ValueError if `timeout` is not a valid time, and UnicodeDecodeError when
        the output is not valid text in the requested encoding. A signal handler may raise during the wait.
        """
        check_seconds("timeout", timeout)
        drive(self._execution, None if timeout is None else clock.now() + timeout)
        if self._execution.exit is None:
            raise TimeoutError(f"not ended after {timeout} s")
        return ended(self._execution)


class BaseCmd(Stoppable[Out]):
    """The common part of the blocking and the asyncio form of a command.

    `argv` is the program and its arguments. It starts without a shell, in a process group of its own. `env`, `cwd`,
    `stdin`, `stdout`, `stderr`, `input`, `text`, `encoding`, `errors`, `pass_fds`, `user`, `group`, `extra_groups` and
    `umask` are as in `subprocess`. So is `capture_output`, which makes pipes of stdout and stderr. The `Exit` holds the
    output of a pipe, unless it is read through `stdout` or `stderr` while the command runs; it keeps at most the last
    `max_output` bytes of each pipe.

    By default stdin is empty if this program's stdin is a terminal: the kernel stops a background process group that
    reads from its terminal. If the terminal stops the command in another way, the logger `gracefulexitcmd` warns. With
    `foreground` the command has the terminal's foreground until it ends, if this program has it now. Ctrl-C then
    reaches only the command, and Ctrl-Z stops this program with it.

    `grace` is the time in seconds between the first stop signal and SIGKILL. It also limits the reading of output after
    the command's own end. A command that runs longer than `timeout` seconds is stopped in the same way. All processes
    get `stop_signal`; `stop` is a sequence of stages instead. Each stage has a signal, the seconds to wait before the
    next stage, and optionally its receivers: "leader", "group", "own" (what the command has started), "others" of its
    container, or "all". A stage ends early when none of its receivers is left; the next stage gets the rest of the
    time. Waits that exceed the grace period in sum shrink in proportion; without `grace` they keep their length.
    SIGKILL to all is last. `stopping` is called just before each signal of the sequence, with the signal and the stages
    from this one on. The thread or task that sends the signal calls it, so it must not wait.

    The command and its descendants belong to `container`, by default one of its own, which marks them by a cookie in
    their environment. A stop reaches all processes of the container; on Windows only the command's own. A command that
    ends by itself leaves its background processes running. With `contain` they are stopped too, and no process can hide
    from that. On Linux this process becomes a subreaper for that, and remains one, as `contain()` explains.

    Any thread may call any method. In the main thread the program's own signal handlers are replaced while a method
    runs, and restored at its end. The replacement calls them at once during a wait, but not while the command is
    started, served or ended: they run right after. So a handler may raise, and no signal is lost.

    Raise TypeError or ValueError for arguments that are not valid, LookupError for an unknown encoding.
    """

    def __init__(
        self,
        argv: Sequence[StrPath],
        *,
        grace: float | None = None,
        timeout: float | None = None,
        env: Mapping[str, str] | None = None,
        cwd: StrPath | None = None,
        stdin: Stream = None,
        stdout: Stream = None,
        stderr: Stream = None,
        input: bytes | str | None = None,  # noqa: A002 - the name it has in subprocess
        capture_output: bool = False,
        text: bool | None = None,
        encoding: str | None = None,
        errors: str | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        stop: Iterable[StageLike] | None = None,
        container: Container | ManualContainer | None = None,
        contain: bool = False,
        stopping: Stopping | None = None,
        max_output: int | None = None,
        foreground: bool = False,
        pass_fds: Collection[int] = (),
        user: str | int | None = None,
        group: str | int | None = None,
        extra_groups: Sequence[str | int] | None = None,
        umask: int = -1,
    ) -> None:
        if stop is not None and stop_signal != signal.SIGTERM:
            raise ValueError("stop and stop_signal cannot both be given: put the signal into stop")
        if stop is None and stop_signal is signal.SIGTERM:
            sequence = PLAIN
        else:
            sequence = stages([(stop_signal, None)] if stop is None else stop)
        if grace is None:
            grace = GRACE if sequence is PLAIN or any(stage.wait is None for stage in sequence) else total(sequence)
        if capture_output:
            if stdout is not None or stderr is not None:
                raise ValueError(
                    "capture_output sets stdout and stderr: leave these out, or give PIPE for one of them instead"
                )
            stdout = stderr = subprocess.PIPE
        self._request = Request(
            argv=argv,
            grace=grace,
            timeout=timeout,
            env=env,
            cwd=cwd,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            input=input,
            stop=sequence,
            container=opened(container),
            contain=contain,
            text=_chosen(text, encoding, errors),
            max_output=max_output,
            foreground=foreground,
            pass_fds=pass_fds,
            user=user,
            group=group,
            extra_groups=extra_groups,
            umask=umask,
        ).check()
        self._execution = Execution(
            Ladder(grace, timeout, sequence, whole=contain),
            partial(CommandRun, self._request),
            stopping=stopping,
            argv=self.argv,
            text=self._request.text,
        )

    @property
    def argv(self) -> tuple[str, ...]:
        """The program and its arguments."""
        return tuple(map(os.fsdecode, self._request.argv))

    def __repr__(self) -> str:
        state = f"running, pid {self.pid}" if self.pid is not None else "not started"
        if self._execution.exit is not None:
            state = self._execution.exit.reason
        return f"<{type(self).__name__} {shown(self.argv)}: {state}>"

    @property
    def pid(self) -> int | None:
        """The id of the process, and of its process group; None before the start."""
        return self._execution.pid

    def _check_pipe(self, name: str) -> None:
        """Raise ValueError unless the stream of this name is a PIPE."""
        if getattr(self._request, name) != subprocess.PIPE:
            raise ValueError(f"{name} is not a pipe: give {name}=PIPE")

    def send_signal(self, number: int) -> bool:
        """Send the command's process group a signal that does not stop it, such as SIGUSR1; see `cancel`.

        May be called from any thread or signal handler, and never waits. Return False if the signal was not sent: the
        command does not run, another thread serves it at this moment, or this is Windows, which has no signals.
        """
        with HandlersHeldBack():
            return self._execution.send(number)


def _chosen(text: bool | None, encoding: str | None, errors: str | None) -> Text | None:
    if not text and encoding is None and errors is None:
        return None
    from gracefulexitcmd.text import chosen

    return chosen(encoding, errors)


class Cmd(BaseCmd[Out], Waitable[Out]):
    """A command that ends gracefully, for callers that block.

    `with Cmd(...) as command:` starts the command, and cancels it at the end of the block if it still runs. The timeout
    and the grace period apply while a thread waits for it, reads or writes.
    """

    if TYPE_CHECKING:

        @overload
        def __init__(
            self: Cmd[bytes],
            argv: Sequence[StrPath],
            *,
            text: Literal[False] | None = None,
            encoding: None = None,
            errors: None = None,
            **options: Unpack[Options],
        ) -> None: ...

        @overload
        def __init__(
            self: Cmd[str],
            argv: Sequence[StrPath],
            *,
            text: bool | None = None,
            encoding: str | None = None,
            errors: str | None = None,
            **options: Unpack[Options],
        ) -> None: ...

        def __init__(self, argv: Sequence[StrPath], **options: Any) -> None: ...

    @functools.cached_property
    def stdin(self) -> IO[Out]:
        """The command's stdin, a file to write to. Raise ValueError unless it is a PIPE."""
        self._check_pipe("stdin")
        from gracefulexitcmd.reading import RawInput, input_file

        raw = RawInput(partial(give, self._execution), self._execution.end_input)
        return input_file(raw, self._request.text)

    @functools.cached_property
    def stdout(self) -> IO[Out]:
        """The command's stdout, a file to read from. Raise ValueError unless it is a PIPE."""
        return self._output("stdout")

    @functools.cached_property
    def stderr(self) -> IO[Out]:
        """The command's stderr, a file to read from. Raise ValueError unless it is a PIPE."""
        return self._output("stderr")

    def _output(self, name: str) -> IO[Out]:
        self._check_pipe(name)
        from gracefulexitcmd.reading import RawOutput, output_file

        return output_file(RawOutput(partial(take, self._execution, name)), self._request.text)

    def start(self) -> None:
        """Start the command. Raise OSError when it cannot start, RuntimeError at a second start.

        The exception of a signal handler is raised after the start.
        """
        with HandlersHeldBack():
            self._execution.start()

    def run(self, *, check: bool = False) -> Exit[Out]:
        """Start the command, wait for it and return how it ended.

        An exception that arrives meanwhile, such as KeyboardInterrupt, first stops the command gracefully; a second one
        kills it. Raise CommandFailed with `check`, unless the command ended by itself with status 0. Raises OSError
        when it cannot start, and the errors of `wait`.
        """
        try:
            drive(self._execution, begin=True)
        except BaseException:
            self._end()
            raise
        exit_ = ended(self._execution)
        return exit_.check() if check else exit_

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        if self.pid is None:  # it could not start
            return
        try:
            if self._execution.is_ending:
                drive(self._execution, clock.now() + LAST_MOMENT)
            self._cancel_and_wait(grace=None)
        except BaseException:
            self._cancel_and_wait(grace=0)
            raise

    def _cancel_and_wait(self, grace: float | None) -> None:
        if self.exit is None:
            self.cancel(grace=grace)
            drive(self._execution)


def take(execution: Execution, name: str, buffer: memoryview) -> int:
    """Wait for output in a pipe and read it into a buffer. Return the number of bytes, 0 at the end.

    A reader that is faster than the command first waits a moment for the pipe alone: this costs less than to serve the
    command.
    """
    count = execution.take(name, buffer)
    while count is None and execution.is_readable(name, AT_ONCE):
        count = execution.take(name, buffer)

    def taken() -> bool:
        nonlocal count
        count = execution.take(name, buffer, execution.wake_others)
        return count is not None

    if count is None:
        attend(execution, taken)
    assert count is not None
    return count


def give(execution: Execution, content: bytes) -> None:
    """Write bytes to a command's stdin; wait until there is room. Raise BrokenPipeError."""
    if not execution.give(content):
        attend(execution, lambda: execution.give(content))
