"""Hosts of registries: what they are called on the line, and whether they are spoken to without encryption."""

from __future__ import annotations

import ipaddress

from step_runner.fetch.credentials import is_docker_hub


def is_plain(host: str) -> bool:
    """Whether a registry on this host, without its port, is taken to speak plain http: it is near, as Docker has it."""
    return is_here(host) or _name(host).endswith(".local")


def is_here(host: str) -> bool:
    """Whether this host, without its port, is this machine: RFC 6761, section 6.3, and loopback addresses."""
    name = _name(host)
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def registry_url(registry: str) -> str:
    """The URL of a registry, without a slash at its end."""
    if is_docker_hub(registry):
        return "https://registry-1.docker.io"
    host, colon, port = registry.rpartition(":")
    name = host if colon and port.isdecimal() else registry
    return f"{'http' if is_plain(name) else 'https'}://{registry}"


def repository_on(registry: str, repository: str) -> str:
    """The name by which the registry knows a repository: Docker's own leaves out `library/`."""
    return f"library/{repository}" if is_docker_hub(registry) and "/" not in repository else repository


def _name(host: str) -> str:
    return host.lower().strip("[]").rstrip(".")
