"""Runs commands as a person types them, and draws what a terminal shows as SVG.

    python -m tools.terminal README.md docs/pictures/cancel.svg

runs the first console block of a page and draws that real run.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).parents[1]

READY = "ready, cancel me"
"""The line of examples/cleanup after which it can be cancelled."""

BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)

CHARACTER, LINE, MARGIN = 8.4, 20, 18
"""The size of a character, and of the margin, in units of the picture."""

COLOURS = {"$": "#8ab4f8", "Stopping": "#f2c14e", "stopping:": "#7bd88f", "removed": "#7bd88f", "job": "#f2c14e"}
"""The colours of lines, by their first word."""


class Command(NamedTuple):
    """A command and what it has printed."""

    text: str
    output: str


def session(page: str) -> list[str]:
    """Return the commands of the first console block of a page."""
    block = BLOCK.search(page)
    assert block is not None, "there is no console block"
    return [line.removeprefix("$ ") for line in block[1].splitlines() if line.startswith("$ ")]


def played(commands: Sequence[str], directory: str) -> Iterator[Command]:
    """Run the commands one after another in the root of the repository; one with `&` runs until the end."""
    environment = {**os.environ, "TMPDIR": directory, "XDG_RUNTIME_DIR": "", "PYTHONUNBUFFERED": "1"}
    environment["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    with contextlib.ExitStack() as running:
        for text in commands:
            options: Any = {"cwd": ROOT, "env": environment, "stdin": subprocess.DEVNULL, "text": True}
            if text.endswith("&"):
                server = subprocess.Popen(text[:-1].split(), stderr=subprocess.PIPE, **options)
                running.callback(_end, server)
                assert server.stderr is not None
                yield Command(text, server.stderr.readline())
                continue
            if " cancel " in text:
                _wait_until_ready(options)
            ended = subprocess.run(
                ["bash", "-c", text],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                check=True,
                **options,
            )
            yield Command(text, ended.stdout)


def _wait_until_ready(options: Any) -> None:
    """A person reads this line before the next command is typed."""
    follow = ["step-runner", "logs", "1", "--follow"]
    with subprocess.Popen(follow, stdout=subprocess.PIPE, **options) as log:
        assert log.stdout is not None
        while READY not in log.stdout.readline():
            pass
        log.terminate()


def _end(server: subprocess.Popen[str]) -> None:
    server.terminate()
    with server:
        server.wait()


def shown(run: Sequence[Command]) -> str:
    """Return the text that the terminal shows."""
    return "".join(f"$ {command.text}\n{command.output}" for command in run)


def picture(text: str) -> str:
    """Return the SVG of a terminal that shows a text: no font and no other file is asked for."""
    lines = text.splitlines()
    width = int(max(map(len, lines)) * CHARACTER) + 2 * MARGIN
    height = len(lines) * LINE + 2 * MARGIN + 20
    rows = "\n".join(
        f'<text x="{MARGIN}" y="{MARGIN + 20 + LINE * number + 14}" fill="{_colour(line)}"'
        f' textLength="{len(line) * CHARACTER:.0f}" xml:space="preserve">{escape(line)}</text>'
        for number, line in enumerate(lines)
        if line
    )
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img"
 aria-label="A terminal in which a job is cancelled" font-size="14"
 font-family="ui-monospace, Menlo, Consolas, monospace">
<rect width="{width}" height="{height}" rx="8" fill="#1d2027"/>
<circle cx="20" cy="18" r="5" fill="#6b7280"/><circle cx="38" cy="18" r="5" fill="#6b7280"/>\
<circle cx="56" cy="18" r="5" fill="#6b7280"/>
{rows}
</svg>
"""


def _colour(line: str) -> str:
    return COLOURS.get(line.split()[0], "#d7dae0")


def main(page: str, target: str) -> None:
    """Run the first console block of a page and write the picture of that run."""
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as directory:
        text = shown(list(played(session(Path(page).read_text(encoding="utf-8")), directory)))
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    Path(target).write_text(picture(text.replace(directory, "/tmp")), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
