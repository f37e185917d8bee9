"""A hook of MkDocs: pages that lie outside of docs/, the helps of all commands, and links that lead out of the site."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click
from mkdocs.structure.files import File, Files

from step_runner.cli.main import commands
from step_runner.cli.names import COMMANDS

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]

ELSEWHERE = {
    "index.md": "README.md",
    "figures.md": "benchmarks/README.md",
    "findings.md": "findings/README.md",
    "library.md": "packages/gracefulexitcmd/README.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
}
"""Pages of the site that are files outside of docs/."""

PLACES = {source: page for page, source in ELSEWHERE.items()}

LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")

MARKER = "The site shows the output of each `--help` here.\n\n<!-- commands -->"

WIDTH = 100
"""Columns of a help."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie elsewhere."""
    for page, source in ELSEWHERE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, **_others: object) -> str:
    """Put in the helps, and turn links to files of the repository into their names."""
    path = page.file.src_uri
    source = ELSEWHERE.get(path, f"docs/{path}")
    text = markdown.replace(MARKER, helps()) if path == "commands.md" else markdown
    return LINK.sub(lambda link: _link(link[1], link[2], link[3], posixpath.dirname(source)), text)


def _link(mark: str, text: str, target: str, directory: str) -> str:
    """Return the link as the site has it; where the site has no such page, the text and the file's path."""
    if re.match(r"\w+:|#", target):
        return f"{mark}[{text}]({target})"
    path, _, anchor = target.partition("#")
    found = posixpath.normpath(posixpath.join(directory, path))
    inside = PLACES.get(found) or (found.removeprefix("docs/") if found.startswith("docs/") else None)
    if inside is None:
        return f"{text} (`{found}`)" if found not in text else text
    return f"{mark}[{text}]({inside}{'#' + anchor if anchor else ''})"


def helps() -> str:
    """Return the help of each command as Markdown."""
    return "\n".join(_section(name) for name in COMMANDS)


def _section(name: str) -> str:
    parent = click.Context(commands, info_name="step-runner", help_option_names=["-h", "--help"])
    command = commands.get_command(parent, name)
    assert command is not None
    context = click.Context(command, info_name=name, parent=parent, terminal_width=WIDTH, max_content_width=WIDTH)
    return f"### {name}\n\n```text\n{command.get_help(context)}\n```\n"
