"""Runs in the process of a Python function: imports it, then describes or calls it."""

from __future__ import annotations

import inspect
import logging
import os
import pkgutil
import signal
import sys
import traceback
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from step_runner.builtin.signature import arguments, results, spec_of
from step_runner.errors import InputError, StepRunnerError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from types import FrameType

    from step_runner.model import Value

IMPORTING = frozenset({__name__, "importlib", "importlib._bootstrap", "pkgutil"})
"""The modules whose frames are above the module that is imported."""


def run(
    target: str,
    shown: str,
    inputs: dict[str, Value] | None = None,
    files: tuple[str, str] = ("", ""),
    variables: dict[str, str] = {},  # noqa: B006 - never changed
) -> None:
    """Call the function `target`, or print its specification if there are no inputs, and exit.

    `shown` names it in messages; `files` are the output file and the export file, `variables` the job's. Print its log
    records from the level in CI_STEPS_LOG_LEVEL on. SIGTERM ends a call like sys.exit(143): `finally:` and context
    managers run; a coroutine is cancelled. A second SIGTERM does nothing.
    """
    if inputs is None:
        _describe(target)
    else:
        signal.signal(signal.SIGTERM, _exit)
        _print_log_records()
        _call(target, shown, inputs, files, variables)


def _describe(target: str) -> None:
    answer = os.dup(sys.stdout.fileno())
    # Output of a module during its import is not part of the answer: send it to stderr.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        content = msgspec.json.encode({"spec": spec_of(_imported(target))})
    except InputError as error:
        content = msgspec.json.encode({"problem": str(error)})
    with open(answer, "wb") as stream:
        stream.write(content)


def _print_log_records() -> None:
    level = os.environ.get("CI_STEPS_LOG_LEVEL", "").strip().upper()
    known = logging.getLevelNamesMapping().get(level, logging.INFO)
    logging.basicConfig(stream=sys.stdout, level=known, format="%(message)s")
    # Its debug records hold URLs, and the URLs of a registry may hold secrets.
    logging.getLogger("urllib3").setLevel(logging.WARNING)


def _call(target: str, shown: str, inputs: dict[str, Value], files: tuple[str, str], variables: dict[str, str]) -> None:
    try:
        function = _imported(target)
        returned = function(**arguments(function, inputs, variables))
        given = results(function, _awaited(returned) if inspect.iscoroutine(returned) else returned)
    except StepRunnerError as error:
        sys.exit(f"Error: {shown}: {error}")
    except Exception as error:
        _fail(shown, error)
    for path, values in zip(files, given, strict=True):
        _append(path, values)


def _awaited(coroutine: Coroutine[Any, Any, object]) -> object:
    import asyncio

    async def cancellable() -> object:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: task.cancelling() or task.cancel())
        return await coroutine

    try:
        return asyncio.run(cancellable())
    except asyncio.CancelledError:
        sys.exit(128 + signal.SIGTERM)


def _exit(number: int, _frame: FrameType | None) -> None:
    # Not SIG_IGN: processes that the function starts during its cleanup would inherit it, execve(2).
    signal.signal(number, lambda *_: None)
    sys.exit(128 + number)


def _imported(target: str) -> Callable[..., Any]:
    try:
        imported: Callable[..., Any] = pkgutil.resolve_name(target)
    except Exception as error:
        raise InputError(f"it cannot be imported: {_where(error)}{_summary(error)}") from error
    return imported


def _where(error: Exception) -> str:
    """Return the line at which an import failed, "" if that was not in the file of a package."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}:{error.lineno}: "
    walked = traceback.walk_tb(error.__traceback__)
    frames = [(frame, line) for frame, line in walked if frame.f_globals.get("__name__") not in IMPORTING]
    return f"{frames[-1][0].f_code.co_filename}:{frames[-1][1]}: " if frames else ""


def _fail(shown: str, error: Exception) -> NoReturn:
    """Print the traceback without our own frames, and exit."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals is globals():
        trace = trace.tb_next
    traceback.print_exception(error.with_traceback(trace))
    sys.exit(f"Error: {shown} failed: {_summary(error)}")


def _summary(error: Exception) -> str:
    return "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]


def _append(path: str, values: Mapping[str, Value]) -> None:
    with open(path, "ab") as file:
        for name, value in values.items():
            file.write(msgspec.json.encode({"name": name, "value": value}) + b"\n")
