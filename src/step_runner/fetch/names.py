"""How registries, repositories and tags are written, as the OCI distribution specification 1.1 has it."""

from __future__ import annotations

import re

from step_runner.errors import InputError

PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
REPOSITORY = re.compile(rf"{PART}(?:/{PART})*")
HOST = re.compile(r"(?:localhost|[a-zA-Z0-9-]+(?:\.[a-zA-Z0-9-]+)+|[a-zA-Z0-9-]+(?=:\d))(?::\d+)?")
TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def checked_repository(name: str) -> str:
    """The path of a repository. Raises InputError for anything else."""
    if not REPOSITORY.fullmatch(name):
        raise InputError(
            f'"{name[:80]}" is no repository; use lower-case letters and digits with . _ - and / between them'
        )
    return name


def checked_tag(tag: str) -> str:
    """A tag or a digest. Raises InputError for anything else."""
    if not (TAG.fullmatch(tag) or DIGEST.fullmatch(tag)):
        raise InputError(
            f'"{tag[:80]}" is neither a tag nor a digest; write a tag such as "1.0" or "sha256:" and 64 digits'
        )
    return tag
