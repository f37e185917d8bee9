"""Which function a name means."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from step_runner.builtin.catalog import OWN, find
from step_runner.errors import FetchError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TEXT = "def act() -> None: ...\n"


@pytest.mark.parametrize("name", ["docker/auth", "docker//auth/", "./docker/auth", "docker/x/../auth", " docker/auth "])
def test_builtin_name_is_cleaned_like_path(name: str) -> None:
    offer = find(name)
    assert (offer.name, offer.target) == ("docker/auth", "step_runner.builtin.docker_auth:docker_auth")


@pytest.mark.parametrize("name", [".", "..", "../docker/auth", "/docker/auth", "docker", "Docker/auth", "none"])
def test_missing_name_or_name_out_of_root_is_not_found(name: str) -> None:
    with pytest.raises(FetchError, match=rf'^fetching builtin function: "{re.escape(name)}" not found; '):
        find(name)


def test_unknown_name_is_reported_with_known_names(install: Callable[..., Path]) -> None:
    install("demo", TEXT, {"demo/greet": "act"})
    with pytest.raises(FetchError) as raised:
        find("demo/gret")
    known = ", ".join(sorted([*OWN, "demo/greet"]))
    assert str(raised.value).endswith(
        f'"demo/gret" not found; did you mean "demo/greet"? known: {known};'
        " install the package of any other one next to step-runner"
    )


def test_package_name_is_reported_with_its_functions(install: Callable[..., Path]) -> None:
    install("demo", TEXT, {"act": "act"}, version="3.1")
    assert str(find("act")) == '"act" (demo 3.1, demo:act)'


def test_name_of_two_packages_is_refused(install: Callable[..., Path]) -> None:
    install("demo", TEXT, {"act": "act"})
    install("other", TEXT, {"act": "act"})
    with pytest.raises(FetchError) as raised:
        find("act")
    assert str(raised.value) == (
        'fetching builtin function: "act" is offered by demo and by other; remove all but one of them'
    )


@pytest.mark.parametrize("name", ["docker/auth", "script"])
def test_package_cannot_take_name_of_own_function(install: Callable[..., Path], name: str) -> None:
    install("demo", TEXT, {name: "act"})
    with pytest.raises(FetchError) as raised:
        find(name)
    assert str(raised.value) == (
        f'fetching builtin function: "{name}" comes with step-runner, but demo offers it, too;'
        " remove that package or rename its function"
    )
