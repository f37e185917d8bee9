"""An unreadable process table."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from gracefulexitcmd.posix import process_table

if TYPE_CHECKING:
    from gracefulexitcmd import ManualContainer
    from gracefulexitcmd.posix import process_group


@pytest.mark.parametrize("ps", ["false", "no-such-program"])
def test_failing_ps_is_an_error_and_not_an_empty_group(
    monkeypatch: pytest.MonkeyPatch, ps: str, group: process_group.Group, container: ManualContainer
) -> None:
    real = subprocess.run
    monkeypatch.setattr(process_table, "has_proc", False)
    monkeypatch.setattr(subprocess, "run", lambda argv, **options: real([ps, *argv[1:]], **options))
    with pytest.raises(OSError, match=r"ps ended with status 1|no-such-program"):
        container.members()
    assert process_table.argv(group.pid) == ()


def test_missing_descriptor_is_an_error_and_not_an_empty_group(
    monkeypatch: pytest.MonkeyPatch, container: ManualContainer
) -> None:
    """Without a free descriptor the members are unknown."""

    def fail(*_: object, **_options: object) -> None:  # rmtree() gives options from Python 3.13 on
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(process_table, "has_proc", True)
    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(OSError, match="Too many open files"):
        container.members()
