"""A command that is ended gracefully, for callers that wait."""

from __future__ import annotations

import signal
from functools import partial
from typing import TYPE_CHECKING

from gracefulexitcmd import clock
from gracefulexitcmd.execution import Execution
from gracefulexitcmd.handlers import HandlersHeldBack
from gracefulexitcmd.ladder import Ladder
from gracefulexitcmd.request import GRACE, Request, Stopping, Stream, StrPath
from gracefulexitcmd.sequence import Stage, StageLike, stages, total
from gracefulexitcmd.system import CommandRun

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from gracefulexitcmd import Container
    from gracefulexitcmd.exit import Exit, SignalSent


class Stoppable:
    """Something that runs and can be stopped."""

    _execution: Execution

    @property
    def exit(self) -> Exit | None:
        """How it ended; None as long as it has not."""
        return self._execution.exit

    @property
    def signals(self) -> tuple[SignalSent, ...]:
        """What has been sent so far."""
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


def drive(execution: Execution) -> Exit:
    """Wait until something that was started has ended, and have it do meanwhile what is due.

    Only the wait itself can be interrupted by a signal handler that raises.
    """
    with HandlersHeldBack():
        poller = execution.enter()
    if poller is not None:
        try:
            while execution.exit is None:
                deadline = execution.deadline
                timeout = None if deadline is None else max(0.0, deadline - clock.now())
                ready = poller.wait(timeout)
                with HandlersHeldBack():
                    execution.advance(ready)
        finally:
            with HandlersHeldBack():
                execution.leave()
    assert execution.exit is not None
    return execution.exit


class Waitable(Stoppable):
    """Something that a thread can wait for."""

    def wait(self) -> Exit:
        """Wait until it has ended; any number of threads may wait."""
        return drive(self._execution)


class BaseCmd(Stoppable):
    """What the blocking and the asyncio form of a command share.

    `argv` is the program and its arguments, started without a shell in a process group of its own. `grace` is
    the time in seconds between the first stop signal and SIGKILL, and the longest time that output is read after the
    command's own end; a command that runs longer than `timeout` seconds is stopped in the same way. `stop_signal` is
    sent to all; `stop` is a sequence instead: each of its stages a signal, the seconds to wait before the next one, and
    by choice who gets it: "leader", "group", "own" (what the command has started), "others" of its container, or "all".
    A stage ends sooner when none of those who got its signal is left; the time then is the next one's. Waits that are
    longer together than the grace shrink in proportion; without `grace` they have their time. SIGKILL to all is last.
    `env`,
    `cwd`, `stdin`, `stdout` and `stderr` are as in `subprocess`; what goes to a PIPE is in the `Exit`. `input`
    is written to the command's stdin. The command and all that it starts belong to `container`, by default to one of
    its own, which marks them by a cookie in their environment. A stop is for everybody in it, on Windows for the
    command's own processes. `stopping` is called just before a signal of the sequence is sent, with the signal and the
    stages from this one on, by whoever sends it, so it must not wait.

    Raises TypeError or ValueError where the arguments make no sense.
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
        input: bytes | None = None,  # noqa: A002 - the name it has in subprocess
        stop_signal: signal.Signals = signal.SIGTERM,
        stop: Iterable[StageLike] | None = None,
        container: Container | None = None,
        stopping: Stopping | None = None,
    ) -> None:
        sequence = stages([Stage(stop_signal)] if stop is None else stop)
        if stop is not None and stop_signal != signal.SIGTERM:
            raise ValueError("stop and stop_signal cannot both be given: put the signal into stop")
        if grace is None:
            grace = GRACE if any(stage.wait is None for stage in sequence) else total(sequence)
        request = Request(argv, grace, timeout, env, cwd, stdin, stdout, stderr, input, sequence, container)
        ladder = Ladder(grace, timeout, sequence)
        self._execution = Execution(ladder, partial(CommandRun, request), stopping=stopping)

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


class Cmd(BaseCmd, Waitable):
    """A command that is ended gracefully, for callers that wait.

    `with Cmd(...) as command:` starts it and makes sure that it has ended at the end of the block: a command
    that still runs there is cancelled.
    """

    def start(self) -> None:
        """Start the command. Raises OSError where that is not possible, RuntimeError at a second start.

        A signal handler that raises does so when the command has been started.
        """
        with HandlersHeldBack():
            self._execution.start()

    def run(self) -> Exit:
        """Start the command and wait for it.

        An exception that arrives meanwhile, such as KeyboardInterrupt, stops the command gracefully before it
        goes on; a second one kills it.
        """
        with self:
            return self.wait()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            if self.pid is not None:
                self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        try:
            self._cancel_and_wait(grace=None)
        except BaseException:
            self._cancel_and_wait(grace=0)
            raise

    def _cancel_and_wait(self, grace: float | None) -> None:
        if self.exit is None:
            self.cancel(grace=grace)
            self.wait()
