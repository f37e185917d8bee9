"""A command that is ended gracefully, for callers that wait."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
from functools import partial
from typing import IO, TYPE_CHECKING, Any, Generic, overload

from gracefulexitcmd import clock
from gracefulexitcmd.duration import check_seconds
from gracefulexitcmd.execution import Execution
from gracefulexitcmd.exit import Exit, Out, shown
from gracefulexitcmd.handlers import HandlersHeldBack
from gracefulexitcmd.ladder import Ladder
from gracefulexitcmd.request import GRACE, Request, Stopping, Stream, StrPath
from gracefulexitcmd.sequence import Stage, StageLike, stages, total
from gracefulexitcmd.system import CommandRun
from gracefulexitcmd.text import chosen

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import Literal, Self, Unpack

    from gracefulexitcmd import Container
    from gracefulexitcmd.exit import SignalSent
    from gracefulexitcmd.options import Options
    from gracefulexitcmd.system import Poller

AT_ONCE = 0.005
"""Seconds that who reads waits for the pipe alone."""


class Stoppable(Generic[Out]):
    """Something that runs and can be stopped."""

    _execution: Execution

    @property
    def exit(self) -> Exit[Out] | None:
        """Return how it ended, None as long as it has not. Any thread may ask at any moment; this never waits."""
        if self._execution.exit is None:
            with HandlersHeldBack():
                self._execution.refresh()
        return self._execution.exit

    def poll(self) -> Exit[Out] | None:
        """Return how it ended, None as long as it has not: `exit` under the name it has in subprocess."""
        return self.exit

    @property
    def signals(self) -> tuple[SignalSent, ...]:
        """Return the signals that were sent so far, in their order. Any thread may ask at any moment."""
        return self._execution.signals

    def cancel(self, *, grace: float | None = None, hurried: str | None = None) -> None:
        """Stop it: the stop signal and SIGCONT now, SIGKILL when the grace, in seconds, is over.

        May be called at any time, any number of times and from any thread or signal handler; it never waits, and
        raises nothing but ValueError, where `grace` is not a time. Before the start it keeps a command from
        starting; after the end it does nothing; a second call can only shorten the delay; `hurried` is
        the reason that the `Exit` gives for it. SIGKILL is sent by whoever waits for the end.
        """
        with HandlersHeldBack():
            self._execution.stop(grace, hurried)


def drive(execution: Execution, until: float | None = None, begin: Callable[[], object] | None = None) -> None:
    """Wait until an execution has ended, and have it do meanwhile what is due; `begin` starts it.

    What it writes is collected, also what a caller has read so far: else the end of its pipes would not be seen.
    With `until`, a time of the clock in seconds, return then at the latest. A signal handler that raises can interrupt
    only the wait itself.
    """
    execution.collect()
    with attending(execution, begin) as step:
        while execution.exit is None and (until is None or clock.now() < until):
            step(until)


@contextlib.contextmanager
def attending(
    execution: Execution, begin: Callable[[], object] | None = None
) -> Iterator[Callable[[float | None], None]]:
    """Give a function that waits until something happens, but not past a time, and does what is due."""
    poller: Poller | None = None

    def step(until: float | None) -> None:
        nonlocal poller
        if poller is None:
            return
        ready = poller.wait(seconds_left(execution.deadline, until))
        with HandlersHeldBack():
            execution.advance(ready)
            if execution.exit is not None:
                poller = None
                execution.leave()

    try:
        with HandlersHeldBack():
            if begin is not None:
                begin()
            poller = execution.enter()
        yield step
    finally:
        if poller is not None:
            with HandlersHeldBack():
                execution.leave()


def seconds_left(*times: float | None) -> float | None:
    """The seconds until the first of some times of the clock; None where none is given."""
    first = min((at for at in times if at is not None), default=None)
    return None if first is None else max(0.0, first - clock.now())


def ended(execution: Execution) -> Exit[Any]:
    """How something has ended. Raises UnicodeDecodeError where its output is not the text that was asked for."""
    assert execution.exit is not None
    if execution.undecodable is not None:
        raise execution.undecodable
    return execution.exit


class Waitable(Stoppable[Out]):
    """Something that a thread can wait for."""

    def wait(self, timeout: float | None = None) -> Exit[Out]:
        """Wait until it has ended; any number of threads may wait. Returns how it ended.

        What it writes to pipes is collected meanwhile. Raises TimeoutError after `timeout` seconds: the command goes
        on. Raises RuntimeError before the start, ValueError where `timeout` is not a time, UnicodeDecodeError where the
        output is not the text that was asked for. A signal handler may raise while this waits.
        """
        check_seconds("timeout", timeout)
        drive(self._execution, None if timeout is None else clock.now() + timeout)
        if self._execution.exit is None:
            raise TimeoutError(f"not ended after {timeout} s")
        return ended(self._execution)


class BaseCmd(Stoppable[Out]):
    """What the blocking and the asyncio form of a command share.

    `argv` is the program and its arguments, started without a shell in a process group of its own. `env`, `cwd`,
    `stdin`, `stdout`, `stderr`, `input`, `text`, `encoding`, `errors`, `pass_fds`, `user`, `group`, `extra_groups` and
    `umask` are as in `subprocess`, and so is `capture_output`, which makes pipes of stdout and stderr. What comes out
    of a pipe is in the `Exit`, unless it is read through `stdout` or `stderr` while the command runs; at most the last
    `max_output` bytes of each pipe are kept then. By default stdin is empty where this program's own is a terminal:
    a process that reads from a terminal in whose foreground it is not would be stopped. Where the terminal stops the
    command all the same, the logger `gracefulexitcmd` warns. With `foreground` the command is in the terminal's
    foreground until it ends, if this program is: Ctrl-C is then for the command alone, and Ctrl-Z stops this program
    with it.

    `grace` is the time in seconds between the first stop signal and SIGKILL, and the longest time that output is read
    after the command's own end; a command that runs longer than `timeout` seconds is stopped in the same way.
    `stop_signal` is sent to all; `stop` is a sequence instead: each of its stages a signal, the seconds to wait before
    the next one, and by choice who gets it: "leader", "group", "own" (what the command has started), "others" of its
    container, or "all". A stage ends sooner when none of those who got its signal is left; the time then is the next
    one's. Waits that are longer together than the grace shrink in proportion; without `grace` they have their time.
    SIGKILL to all is last. `stopping` is called just before a signal of the sequence is sent, with the signal and the
    stages from this one on, by whoever sends it, so it must not wait.

    The command and all that it starts belong to `container`, by default to one of its own, which marks them by a cookie
    in their environment. A stop is for everybody in it, on Windows for the command's own processes. A command that ends
    by itself leaves its background processes alone; with `contain` they are stopped, too, and nothing can hide from
    that: on Linux this process becomes a subreaper for it, and stays one, as `contain()` says.

    Every method may be called from any thread. In the main thread the program's own signal handlers are replaced for
    the moments in which a command is started, looked after or ended, and put back right after. One that raises runs
    between these moments, as during the wait itself, and none is lost. So set no handler within a handler.

    Raises TypeError or ValueError where the arguments make no sense, LookupError for an unknown encoding.
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
        container: Container | None = None,
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
        sequence = stages([Stage(stop_signal)] if stop is None else stop)
        if stop is not None and stop_signal != signal.SIGTERM:
            raise ValueError("stop and stop_signal cannot both be given: put the signal into stop")
        if grace is None:
            grace = GRACE if any(stage.wait is None for stage in sequence) else total(sequence)
        if capture_output:
            if stdout is not None or stderr is not None:
                raise ValueError("capture_output is for stdout and stderr: leave these out, or make one a PIPE alone")
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
            container=container,
            contain=contain,
            text=chosen(text, encoding, errors),
            max_output=max_output,
            foreground=foreground,
            pass_fds=pass_fds,
            user=user,
            group=group,
            extra_groups=extra_groups,
            umask=umask,
        )
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
        return tuple(os.fsdecode(word) for word in self._request.argv)

    def __repr__(self) -> str:
        state = f"running, pid {self.pid}" if self.pid is not None else "not started"
        if self._execution.exit is not None:
            state = self._execution.exit.reason
        return f"<{type(self).__name__} {shown(self.argv)}: {state}>"

    @property
    def pid(self) -> int | None:
        """The number of the process that was started, and of its process group; None before the start."""
        return self._execution.pid

    def send_signal(self, number: int) -> bool:
        """Send the command's process group a signal that does not ask it to stop, such as SIGUSR1; see `cancel`.

        May be called from any thread or signal handler, and never waits. False where it was not sent: the command
        does not run, another thread is looking after it at this moment, or this is Windows, which has no signals.
        """
        with HandlersHeldBack():
            return self._execution.send(number)


class Cmd(BaseCmd[Out], Waitable[Out]):
    """A command that is ended gracefully, for callers that wait.

    `with Cmd(...) as command:` starts it and makes sure that it has ended at the end of the block: a command
    that still runs there is cancelled. Timeout and grace hold while one waits for it, reads or writes.
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
        """The command's stdin, a file to write to. Raises ValueError unless it is a PIPE."""
        if self._request.stdin != subprocess.PIPE:
            raise ValueError("stdin is not a pipe: give stdin=PIPE")
        from gracefulexitcmd.reading import RawInput, input_file

        raw = RawInput(partial(give, self._execution), self._execution.end_input)
        return input_file(raw, self._request.text)

    @functools.cached_property
    def stdout(self) -> IO[Out]:
        """What the command writes to stdout, a file to read from. Raises ValueError unless it is a PIPE."""
        return self._output("stdout", self._request.stdout)

    @functools.cached_property
    def stderr(self) -> IO[Out]:
        """What the command writes to stderr, a file to read from. Raises ValueError unless it is a PIPE."""
        return self._output("stderr", self._request.stderr)

    def _output(self, name: str, stream: Stream) -> IO[Out]:
        if stream != subprocess.PIPE:
            raise ValueError(f"{name} is not a pipe: give {name}=PIPE")
        from gracefulexitcmd.reading import RawOutput, output_file

        return output_file(RawOutput(partial(take, self._execution, name)), self._request.text)

    def start(self) -> None:
        """Start the command. Raises OSError where that is not possible, RuntimeError at a second start.

        A signal handler that raises does so when the command has been started.
        """
        with HandlersHeldBack():
            self._execution.start()

    def run(self, *, check: bool = False) -> Exit[Out]:
        """Start the command, wait for it and return how it ended.

        An exception that arrives meanwhile, such as KeyboardInterrupt, stops the command gracefully before it
        goes on; a second one kills it. Raises CommandFailed with `check`, unless it ended by itself with status 0,
        OSError where it cannot be started, and what `wait` raises.
        """
        try:
            drive(self._execution, begin=self._execution.start)
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
        if self.pid is None:  # it could not be started
            return
        try:
            self._cancel_and_wait(grace=None)
        except BaseException:
            self._cancel_and_wait(grace=0)
            raise

    def _cancel_and_wait(self, grace: float | None) -> None:
        if self.exit is None:
            self.cancel(grace=grace)
            drive(self._execution)


def take(execution: Execution, name: str, buffer: memoryview) -> int:
    """Fill a buffer with what a command writes to a pipe; waits for it, and returns the number of bytes, 0 at the end.

    Whoever reads faster than the command writes waits for the pipe alone for a moment, which costs less than to look
    after the command.
    """
    count = execution.take(name, buffer)
    while count is None and execution.is_readable(name, AT_ONCE):
        count = execution.take(name, buffer)
    if count is not None:
        return count
    with attending(execution) as step:
        while (count := execution.take(name, buffer, execution.wake_others)) is None:
            step(None)
    return count


def give(execution: Execution, content: bytes) -> None:
    """Write bytes to a command's stdin; waits until there is room. Raises BrokenPipeError."""
    if execution.give(content):
        return
    with attending(execution) as step:
        while not execution.give(content):
            step(None)
