"""Makes the texts of step files."""

from __future__ import annotations

import json
from typing import Any


def script(*texts: str) -> str:
    """Return a function with the steps `s1`, `s2` and so on, each a script."""
    return run_list(*({"name": f"s{number}", "script": text} for number, text in enumerate(texts, start=1)))


def run_list(*steps: dict[str, Any], spec: dict[str, Any] | None = None, **fields: Any) -> str:
    """Return a function that is a list of steps."""
    return _documents(spec, {"run": steps, **fields})


def command(
    *words: str,
    spec: dict[str, Any] | None = None,
    work_dir: str | None = None,
    stop: Any = None,
    **fields: Any,
) -> str:
    """Return a function that is one command."""
    given = {"work_dir": work_dir, "stop": stop}
    own = {key: value for key, value in given.items() if value is not None}
    return _documents(spec, {"exec": {"command": words, **own}, **fields})


def shell(text: str, **fields: Any) -> str:
    """Return a function that is one command: sh with a script."""
    return command("sh", "-c", text, **fields)


def _documents(spec: dict[str, Any] | None, definition: dict[str, Any]) -> str:
    return f"{json.dumps({'spec': spec or {}})}\n---\n{json.dumps(definition)}\n"
