"""The isolation of each test, the options of the live server's test, and fixtures with registries."""

from __future__ import annotations

import uuid
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from tests.support.absent import program_of
from tests.support.isolation import base, no_process_left, temporary

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.registry import RegistryServer

__all__ = ["base", "no_process_left", "temporary"]

LIVE_PATIENCE = 120.0
"""Seconds that the test of a live server may take in addition to --live-seconds."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the test that drives a live server at random."""
    group = parser.getgroup("live server")
    group.addoption("--live-seconds", type=float, default=20, metavar="N", help="seconds to drive it (default: 20)")
    group.addoption("--live-seed", type=int, metavar="SEED", help="the seed of the steps, as printed by a failed run")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test with `live_seconds` a timeout that is longer than these."""
    if "live_seconds" in metafunc.fixturenames:
        seconds: float = metafunc.config.getoption("--live-seconds")
        mark = pytest.mark.timeout(seconds + LIVE_PATIENCE)
        metafunc.parametrize("live_seconds", [pytest.param(seconds, marks=mark, id=f"{seconds:g} s")])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the test of the live server first: it is the longest, and the last worker would be left alone with it."""
    items.sort(key=lambda item: "live_seconds" not in getattr(item, "fixturenames", ()))


@pytest.fixture
def live_seed(pytestconfig: pytest.Config) -> int | None:
    """Return the seed to use; None for a random one."""
    seed: int | None = pytestconfig.getoption("--live-seed")
    return seed


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    """Serve a registry without authentication; each test has its own repository there."""
    yield from _serve(tmp_path_factory.mktemp("registry") / "open")


@pytest.fixture(scope="session")
def closed_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    """Serve a registry that admits only the user ada with the password hunter2."""
    import bcrypt

    directory = tmp_path_factory.mktemp("registry")
    users = directory / "htpasswd"
    users.write_text(f"ada:{bcrypt.hashpw(b'hunter2', bcrypt.gensalt(4)).decode()}\n")
    yield from _serve(directory / "closed", htpasswd=users)


def _serve(directory: Path, **settings: Path) -> Iterator[RegistryServer]:
    from tests.support.registry import RegistryServer

    server = RegistryServer(directory, **settings)
    yield server
    server.close()


@pytest.fixture
def repository() -> str:
    """Return the name of a repository that no other test uses."""
    return f"group/{uuid.uuid4().hex}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the missing programs, and the number of tests that were skipped for each."""
    reasons = (str(report.longrepr) for report in terminalreporter.stats.get("skipped", ()))
    missing = Counter(program for reason in reasons if (program := program_of(reason)) is not None)
    if missing:
        terminalreporter.section("missing programs; .ci/install installs them on Debian and Ubuntu")
    for program, count in sorted(missing.items()):
        terminalreporter.write_line(f"{program}: {count} {'test was' if count == 1 else 'tests were'} skipped")
