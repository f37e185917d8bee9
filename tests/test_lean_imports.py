"""Libraries that are imported without a part behave as they do with it."""

from __future__ import annotations

import functools
import inspect
import pathlib
import re
import subprocess
import sys
import types
import unittest.mock
from typing import TYPE_CHECKING

import pytest

from step_runner.imports import (
    PACKAGES,
    SELDOM_USED,
    cleandoc,
    is_async_generator_function,
    is_awaitable,
    is_coroutine_function,
    plain_character_classes,
)
from step_runner.paths import tidy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

CLASSES = (
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]",
    "[a-zäöü\u0100-\u2fff]",
    r"[^\w\u3000]",
)


@pytest.mark.parametrize("pattern", CLASSES)
@pytest.mark.parametrize("flags", [0, re.IGNORECASE], ids=["as it is", "ignoring case"])
def test_plain_character_class_matches_the_same_characters(pattern: str, flags: int) -> None:
    optimized = re.compile(pattern, flags)
    re.purge()
    with plain_character_classes():
        plain = re.compile(pattern, flags)
    every = "".join(map(chr, range(0x110000)))
    assert plain.findall(every) == optimized.findall(every)


def test_yaml_is_imported_without_character_tables() -> None:
    """The one of yaml.reader takes longer than the rest of yaml, and the parser in C does not use it."""
    program = (
        "import re._compiler as compiler, sys; seen = []; real = compiler._mk_bitmap; "
        "compiler._mk_bitmap = lambda bits: seen.append(len(bits)) or real(bits); "
        "import step_runner.functions.document; assert 'yaml.reader' in sys.modules; print(max(seen, default=0))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(ended.stdout) <= 256


def test_local_run_imports_no_fetching() -> None:
    """Functions on this machine need no URLs, of which the module takes milliseconds."""
    program = (
        "import sys; import step_runner.cli.run, step_runner.jobs.local, step_runner.functions.check; "
        "print(*{'step_runner.fetch.url', 'tempfile', 'shutil', 'hashlib'} & set(sys.modules))"
    )
    ended = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout == "\n"


class Calls:
    """Calls of all kinds that inspect tells apart."""

    def method(self) -> None:
        """Nothing."""

    async def coroutine(self) -> None:
        """Nothing."""

    @types.coroutine
    def generator(self) -> Iterator[None]:
        yield

    async def stream(self) -> AsyncIterator[None]:
        yield

    def __call__(self) -> None:
        """Nothing."""

    def __await__(self) -> Iterator[None]:
        yield


CALLS = (
    Calls().stream,
    Calls.stream,
    Calls().method,
    Calls.coroutine,
    Calls().coroutine,
    Calls().generator,
    Calls(),
    Calls,
    print,
    functools.partial(Calls.coroutine),
    functools.partial(Calls.method),
    functools.wraps(Calls.coroutine)(lambda: None),
    unittest.mock.AsyncMock(),
)


@pytest.mark.parametrize("call", CALLS, ids=range(len(CALLS)))
def test_coroutine_functions_are_those_of_inspect(call: object) -> None:
    assert is_coroutine_function(call) == inspect.iscoroutinefunction(call)
    assert is_async_generator_function(call) == inspect.isasyncgenfunction(call)


AWAITED = (None, Calls(), Calls, Calls().generator(), Calls().__await__(), Calls().stream())


@pytest.mark.parametrize("value", AWAITED, ids=range(len(AWAITED)))
def test_awaitable_values_are_those_of_inspect(value: object) -> None:
    assert is_awaitable(value) == inspect.isawaitable(value)


def test_coroutine_is_awaitable() -> None:
    coroutine = Calls().coroutine()
    assert is_awaitable(coroutine)
    coroutine.close()


def test_delayed_logger_of_library_stays_silent() -> None:
    """A handler that drops messages takes effect when logging is imported; other loggers print errors."""
    ended = _python(
        "import step_runner.imports as imports; imports.delay_seldom_used(); import logging;"
        "silent = logging.getLogger('silent'); silent.addHandler(logging.NullHandler());"
        "silent.debug(''); assert isinstance(imports.sys.modules['logging'], imports._Later);"
        "silent.error('dropped'); logging.getLogger('other').error('shown')"
    )
    assert (ended.returncode, ended.stderr) == (0, "shown\n")


TEXTS = ("", " a ", "a\n  b\n    c\n", "\n\n  a\n\n  b\n\n", "a\n\tb\n        c", "  \n  a\n ", "\b\n    a\n  b")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of descriptors that a process can set")
def test_error_without_descriptor_for_logging_is_dropped() -> None:
    """The import of logging then fails. That ends neither the event loop nor later messages."""
    program = """
from step_runner.imports import delay_seldom_used
delay_seldom_used()
import asyncio, resource, sys

async def work():
    loop, limit = asyncio.get_running_loop(), resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limit[1]))
    loop.call_soon(lambda: 1 / 0)
    await asyncio.sleep(0.01)
    resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    loop.call_soon(lambda: {}["key"])
    await asyncio.sleep(0.01)
    print("went on")

asyncio.run(work())
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.stdout == "went on\n"
    assert "KeyError" in ended.stderr
    assert "ZeroDivisionError" not in ended.stderr


@pytest.mark.parametrize("text", TEXTS)
def test_texts_of_help_are_cleaned_as_by_inspect(text: str) -> None:
    assert cleandoc(text) == inspect.cleandoc(text)


def test_delayed_module_is_complete_when_used() -> None:
    """Each attribute is that of the module itself, however it is imported."""
    ended = _python(
        "import step_runner.imports as imports; imports.delay_seldom_used();"
        "import inspect, traceback, platform, gettext, shutil, urllib.parse; from textwrap import indent;"
        "import asyncio; from asyncio import sslproto; from traceback import format_stack;"
        "assert sslproto.SSLProtocol.__module__ == 'asyncio.sslproto';"
        "assert urllib.parse.urlsplit('http://[::1]/').hostname == '::1';"
        "assert inspect.signature(shutil.copy).parameters and indent('a', ' ') == ' a' and format_stack();"
        "assert traceback.extract_stack()[-1].lineno == 1 and platform.system() == platform.uname().system;"
        "import importlib; assert importlib.import_module('inspect').signature is inspect.signature;"
        "import collections.abc; assert inspect.isawaitable(1) is False"
    )
    assert (ended.returncode, ended.stderr) == (0, "")


USES = (
    "import concurrent.futures; concurrent.futures.ThreadPoolExecutor().submit(print).result()",
    "import concurrent.futures.thread; concurrent.futures.thread.ThreadPoolExecutor().submit(print).result()",
    "from concurrent.futures import ThreadPoolExecutor as Pool; Pool().submit(print).result()",
    "import asyncio; asyncio.run(asyncio.to_thread(print))",
    "import asyncio; loop = asyncio.new_event_loop(); loop.close(); print()",
    "import logging.handlers; logging.handlers.MemoryHandler(1).close(); print()",
    "import logging; from asyncio.log import logger; logger.debug(''); logger.error(''); print()",
)


@pytest.mark.parametrize("use", USES)
def test_delayed_package_is_complete_when_used(use: str) -> None:
    ended = _python(f"import step_runner.imports as imports; imports.delay_seldom_used(); {use}")
    assert (ended.returncode, ended.stdout, ended.stderr.strip()) == (0, "\n", "")


def test_delayed_module_is_imported_once_by_many_threads() -> None:
    ended = _python(
        "import step_runner.imports as imports, threading; imports.delay('textwrap'); import textwrap;"
        "start, found = threading.Barrier(16), [];"
        "use = lambda: (start.wait(), found.append(textwrap.TextWrapper));"
        "threads = [threading.Thread(target=use) for _ in range(16)];"
        "[thread.start() for thread in threads]; [thread.join() for thread in threads];"
        "assert len(found) == 16 and len(set(found)) == 1, found"
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_known_attribute_imports_nothing() -> None:
    ended = _python(
        "import step_runner.imports as imports, sys; imports.delay_seldom_used(); import inspect;"
        "print(inspect.cleandoc(' a'), 'ast' in sys.modules, 'dis' in sys.modules)"
    )
    assert ended.stdout == "a False False\n"


def test_local_run_uses_nothing_seldom_used(tmp_path: Path) -> None:
    """Else the start waits for modules that were delayed in vain."""
    (tmp_path / "hello.yml").write_text("{}\n---\nexec: {command: [echo, hello]}\n")
    command = [sys.executable, "-X", "importtime", "-m", "step_runner", "run", "hello.yml"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)
    imported = set(re.findall(r"^import time:.*\| +(\S+)$", ended.stderr, re.MULTILINE))
    assert "asyncio" in imported
    assert imported & {*SELDOM_USED, *PACKAGES, "gettext", "inspect", "traceback", "platform", "shutil"} == set()


def _python(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)


PATHS = ("", ".", "./a//b/./c/", "../x/./y", "/a/../b", "/", "./", "/tmp/./", "a b/\u00e9")


@pytest.mark.parametrize("path", PATHS)
def test_tidy_path_is_that_of_pathlib(path: str) -> None:
    assert tidy(path) == pathlib.Path(path).as_posix()
