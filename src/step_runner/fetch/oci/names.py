"""Checks names of registries, repositories and tags by the OCI distribution specification 1.1."""

from __future__ import annotations

import re

from step_runner.errors import InputError

PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
REPOSITORY = re.compile(rf"{PART}(?:/{PART})*")
HOST = re.compile(r"(?:localhost|[a-zA-Z0-9-]+(?:\.[a-zA-Z0-9-]+)+|[a-zA-Z0-9-]+(?=:\d))(?::\d+)?")
TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
DOCKER_HUB_NAMES = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"})


def checked_repository(name: str) -> str:
    """Return the path of a repository. Raise InputError for anything else."""
    if not REPOSITORY.fullmatch(name):
        advice = "use lower-case letters and digits with . _ - and / between them"
        raise InputError(f'"{name[:80]}" is not a valid repository name; {advice}')
    return name


def checked_tag(tag: str) -> str:
    """Return a tag or a digest. Raise InputError for anything else."""
    if not (TAG.fullmatch(tag) or DIGEST.fullmatch(tag)):
        raise InputError(
            f'"{tag[:80]}" is neither a tag nor a digest; write a tag such as "1.0" or "sha256:" and 64 digits'
        )
    return tag


def split_image(text: str) -> tuple[str, str]:
    """Return the name of an image without its tag and its digest, and its digest, else its tag, else an empty text."""
    location, _, digest = text.partition("@")
    name, colon, tag = location.rpartition(":")
    if not colon or "/" in tag:
        name, tag = location, ""
    return name, digest or tag


def image_name(repository: str, reference: str) -> str:
    """Return the full name of the image with a tag or a digest."""
    return f"{repository}{'@' if ':' in reference else ':'}{reference}"


def is_docker_hub(registry: str) -> bool:
    """Return whether this host is a name of Docker Hub."""
    return registry in DOCKER_HUB_NAMES


def is_plain(host: str) -> bool:
    """Return whether to expect plain http from a registry on this host, without its port, as Docker does."""
    from step_runner.fetch.url import is_loopback  # takes milliseconds, which a run of local functions saves

    return is_loopback(host) or host.lower().rstrip(".").endswith(".local")


def registry_url(registry: str) -> str:
    """Return the URL of a registry, without a slash at its end."""
    if is_docker_hub(registry):
        return "https://registry-1.docker.io"
    host, colon, port = registry.rpartition(":")
    name = host if colon and port.isdecimal() else registry
    return f"{'http' if is_plain(name) else 'https'}://{registry}"


def repository_on(registry: str, repository: str) -> str:
    """Return the registry's own name of a repository: on Docker Hub a short name means one in `library/`."""
    return f"library/{repository}" if is_docker_hub(registry) and "/" not in repository else repository
