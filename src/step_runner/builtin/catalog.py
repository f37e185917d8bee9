"""Finds a function by its name: one of the step runner, or one that an installed package offers.

A package offers a function by an entry point in the group `step_runner.functions`.
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, NamedTuple

from step_runner.errors import FetchError
from step_runner.spelling import nearest

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "step_runner.functions"
PACKAGE = "step-runner"

SCRIPT = "script"
"""The name of the function that a `script:` calls. It is not a Python function: the runner starts its shell itself."""

OWN = {
    SCRIPT: "",
    "docker/auth": "step_runner.builtin.docker_auth:docker_auth",
    "function/oci/build": "step_runner.builtin.oci:oci_build",
    "function/oci/publish": "step_runner.builtin.oci:oci_publish",
    "script_legacy": "step_runner.builtin.script_legacy:script_legacy",
    "step/oci/build": "step_runner.builtin.compatibility:build",
    "step/oci/fetch": "step_runner.builtin.compatibility:fetch",
    "step/oci/promote": "step_runner.builtin.compatibility:promote",
}
"""The functions of the step runner and where they are imported from; packages cannot take their names."""


class UnknownFunctionError(FetchError):
    """Neither the step runner nor a package that is installed here has this function."""


class Offer(NamedTuple):
    """An available function: its name, where it is imported from, and its package."""

    name: str
    target: str
    package: str
    version: str = ""

    def __str__(self) -> str:
        origin = "" if self.package == PACKAGE else f" ({self.package} {self.version}, {self.target})"
        return f'"{self.name}"{origin}'


def find(name: str) -> Offer:
    """Return the function with a name. Raise UnknownFunctionError if there is none, FetchError if there are two."""
    cleaned = cleaned_name(name)
    offers = [offer for offer in _offers() if offer.name == cleaned]
    if not offers:
        raise UnknownFunctionError(f'fetching builtin function: "{name}" not found; {_advice(cleaned)}')
    if len(offers) > 1:
        raise FetchError(f'fetching builtin function: "{name}" {_clash(offers)}')
    return offers[0]


def cleaned_name(name: str) -> str:
    """Return the name without doubled slashes and dots, as the name of a path is cleaned."""
    return posixpath.normpath(name.strip())


def _offers() -> list[Offer]:
    from importlib.metadata import entry_points

    own = [Offer(name, target, PACKAGE) for name, target in OWN.items()]
    return [*own, *map(_offer, entry_points(group=GROUP))]


def _offer(entry: EntryPoint) -> Offer:
    package, version = (entry.dist.name, entry.dist.version) if entry.dist is not None else ("a package", "")
    return Offer(cleaned_name(entry.name), entry.value, package, version)


def _advice(name: str) -> str:
    known = sorted({offer.name for offer in _offers()})
    near = nearest(name, known)
    meant = f'did you mean "{near}"? ' if near else ""
    return f"{meant}known: {', '.join(known)}; install the package of any other one next to step-runner"


def _clash(offers: list[Offer]) -> str:
    packages = sorted(offer.package for offer in offers)
    if PACKAGE in packages:
        packages.remove(PACKAGE)
        return f"comes with step-runner, but {packages[0]} offers it, too; remove that package or rename its function"
    return f"is offered by {' and by '.join(packages)}; remove all but one of them"
