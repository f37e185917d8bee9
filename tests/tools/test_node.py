"""Programs that run the scripts of a package.json."""

from __future__ import annotations

import json
import shlex
import subprocess
from typing import TYPE_CHECKING

import pytest
from tests.tools.stopping import PAYLOAD, Seen, stopped
from tests.tools.toolbox import npm

if TYPE_CHECKING:
    from pathlib import Path

PACKAGES = {"npm": "npm@11.19.1", "yarn": "yarn@1.22.22", "pnpm": "pnpm@10.24.0"}
YARN_4 = "@yarnpkg/cli-dist@4.12.0"
SHELL = {"npm": "npm_config_script_shell", "pnpm": "npm_config_script_shell", "yarn": "npm_config_script_shell"}


def started(tool: str, how: str, log: Path, *, shell: str = "/bin/dash") -> Seen:
    """Stop `TOOL run start`, whose script is the payload."""
    (log.parent / "package.json").write_text(
        json.dumps({"name": "a", "version": "1.0.0", "private": True, "scripts": {"start": shlex.join(PAYLOAD)}})
    )
    program = npm(PACKAGES[tool]) / tool
    return stopped((program, "run", "start"), how, log, cwd=log.parent, **{SHELL[tool]: shell})


@pytest.mark.parametrize("tool", PACKAGES)
def test_script_of_dash_is_orphaned(tool: str, log: Path) -> None:
    """Signalled alone, the tool ends with its dash; the program gets no signal and continues."""
    seen = started(tool, "leader", log)
    assert (seen.received, seen.lives) == (0, True)


@pytest.mark.parametrize("tool", PACKAGES)
def test_script_of_dash_is_stopped_by_product(tool: str, log: Path) -> None:
    """The program gets one signal and has its time."""
    seen = started(tool, "product", log)
    assert (seen.received, seen.cleaned, seen.lives) == (1, True, False)


def test_script_of_bash_gets_signal_from_npm(log: Path) -> None:
    """bash replaces itself by the program, so what npm passes on reaches it."""
    seen = started("npm", "leader", log, shell="/bin/bash")
    assert (seen.received, seen.cleaned, seen.lives) == (1, True, False)


def test_script_of_bash_gets_signal_from_npm_and_group(log: Path) -> None:
    """Below bash the program gets the signal of the group and that of npm; both may arrive as one."""
    seen = started("npm", "product", log, shell="/bin/bash")
    assert (seen.cleaned, seen.lives) == (True, False)
    assert seen.received in (1, 2)


@pytest.mark.parametrize("how", ["leader", "product"])
def test_yarn_4_waits_for_its_program(how: str, log: Path, tmp_path: Path) -> None:
    """yarn 4 needs no shell: it passes the signal on and waits."""
    (tmp_path / "package.json").write_text(
        json.dumps({"name": "a", "version": "1.0.0", "private": True, "scripts": {"start": shlex.join(PAYLOAD)}})
    )
    (tmp_path / ".yarnrc.yml").write_text("nodeLinker: node-modules\nenableTelemetry: false\nenableNetwork: false\n")
    yarn = npm(YARN_4).parent / "@yarnpkg/cli-dist/bin/yarn.js"
    subprocess.run(["node", yarn, "install"], cwd=tmp_path, check=True, stdout=subprocess.DEVNULL, timeout=60)
    seen = stopped(("node", yarn, "start"), how, log, cwd=tmp_path)
    assert (seen.cleaned, seen.lives) == (True, False)
    assert seen.received in (1, 2)
