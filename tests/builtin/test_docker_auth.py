"""`builtin://docker/auth`: the docker configuration that later steps see."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.steps import run_list

from step_runner.builtin.docker_auth import docker_auth
from step_runner.errors import InputError
from step_runner.fetch.oci.credentials import Credentials, find_credentials
from step_runner.proc import Proc

if TYPE_CHECKING:
    from pathlib import Path

    from tests.runner.conftest import Workshop

ADA = {"registry": "r.io", "username": "ada", "password": "pw:1"}
ADA_AUTH = {"auth": base64.b64encode(b"ada:pw:1").decode()}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without a docker configuration, and an environment without one."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("DOCKER_AUTH_CONFIG", raising=False)
    return tmp_path


def write(home: Path, config: dict[str, Any]) -> None:
    (home / ".docker").mkdir()
    (home / ".docker" / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("inputs", "auth"),
    [
        ({}, {}),
        (ADA, {"auths": {"r.io": ADA_AUTH}}),
        ({"registry": "r.io", "helper_name": "ecr"}, {"credHelpers": {"r.io": "ecr"}}),
        (
            {**ADA, "registry": "docker.io"},
            {"auths": {"https://index.docker.io/v1/": ADA_AUTH}},
        ),
        ({"store_name": "secretservice"}, {"credsStore": "secretservice"}),
        (
            {**ADA, "helper_name": "gcr", "store_name": "pass"},
            {"auths": {"r.io": ADA_AUTH}, "credHelpers": {"r.io": "gcr"}, "credsStore": "pass"},
        ),
    ],
    ids=["nothing", "password", "helper", "docker hub", "store", "all"],
)
def test_each_kind_of_login_has_its_entry(inputs: dict[str, str], auth: dict[str, Any]) -> None:
    made = docker_auth(**inputs)
    assert made.auth == auth
    assert json.loads(made.DOCKER_AUTH_CONFIG) == auth


def test_existing_logins_are_kept(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file comes first, then the variable that an earlier step exported, then the new login; the later one wins."""
    write(home, {"auths": {"a": {"auth": "file"}, "b": {"auth": "file"}}, "proxies": {"default": {}}})
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", json.dumps({"auths": {"b": {"auth": "env"}, "r.io": {"auth": "env"}}}))
    assert docker_auth(**ADA).auth == {
        "auths": {"a": {"auth": "file"}, "b": {"auth": "env"}, "r.io": ADA_AUTH},
        "proxies": {"default": {}},
    }


def test_other_settings_of_file_and_variable_are_merged(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Docker keeps the proxy of each of its servers, for example, in one object."""
    write(home, {"proxies": {"default": {"httpProxy": "file", "noProxy": "file"}, "tcp://a": {}}})
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", json.dumps({"proxies": {"default": {"httpProxy": "env"}}}))
    assert docker_auth().auth == {
        "proxies": {"default": {"httpProxy": "env", "noProxy": "file"}, "tcp://a": {}},
    }


LOGIN = {"auths": {"r.io": ADA_AUTH}}
HELPER = {"credHelpers": {"r.io": "new"}}


@pytest.mark.parametrize(
    "known",
    [
        {"credHelpers": {"r.io": "old"}},
        {"auths": {"r.io": {"auth": "b2xkOm9sZA==", "identitytoken": "OLD"}}},
        {"auths": {"https://r.io": {"auth": "b2xkOm9sZA=="}, "http://R.io/v1/": {"auth": "b2xkOm9sZA=="}}},
        {"auths": {"R.IO": {}}, "credHelpers": {"https://r.io/": "old"}},
    ],
    ids=["helper", "identity token", "URLs", "helper by URL"],
)
@pytest.mark.parametrize(
    ("inputs", "added"),
    [(ADA, LOGIN), ({"registry": "r.io", "helper_name": "new"}, HELPER)],
    ids=["login", "helper"],
)
@pytest.mark.parametrize("place", ["file", "variable"])
def test_new_login_replaces_each_older_one_of_its_registry(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    known: dict[str, Any],
    inputs: dict[str, str],
    added: dict[str, Any],
) -> None:
    """A new login replaces every entry of its registry, however that entry writes the name."""
    others: dict[str, dict[str, Any]] = {
        "auths": {"r.io/group": ADA_AUTH, "https://s.io": ADA_AUTH},
        "credHelpers": {"s.io:5000": "other"},
    }
    everything = {name: {**others[name], **known.get(name, {})} for name in others}
    if place == "file":
        write(home, everything)
    else:
        monkeypatch.setenv("DOCKER_AUTH_CONFIG", json.dumps(everything))

    made = docker_auth(**inputs).auth
    assert made == {name: {**others[name], **added.get(name, {})} for name in others}


def test_login_of_variable_replaces_login_of_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry without content, as docker writes it if it has a helper, replaces nothing."""
    write(home, {"auths": {"a.io": {"identitytoken": "OLD"}, "b.io": ADA_AUTH}, "credHelpers": {"a.io": "old"}})
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", json.dumps({"auths": {"https://a.io/v2/": ADA_AUTH, "b.io": {}}}))

    assert docker_auth().auth == {"auths": {"https://a.io/v2/": ADA_AUTH, "b.io": ADA_AUTH}, "credHelpers": {}}


@pytest.mark.parametrize(
    ("registry", "key"),
    [
        (" R.Example.com:5000 ", "r.example.com:5000"),
        ("https://R.io/v2/", "r.io"),
        ("r.io/Group/", "r.io/Group"),
        ("https://docker.io", "https://index.docker.io/v1/"),
        ("Index.Docker.io", "https://index.docker.io/v1/"),
    ],
)
def test_registry_name_is_the_same_in_every_spelling(registry: str, key: str) -> None:
    assert docker_auth(registry, "ada", "pw:1").auth == {"auths": {key: ADA_AUTH}}


def test_fetch_finds_new_login(monkeypatch: pytest.MonkeyPatch) -> None:
    old = {"auths": {"https://R.Example.com": {"auth": "b2xkOm9sZA==", "identitytoken": "OLD"}}}
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", json.dumps(old))
    environment = {"DOCKER_AUTH_CONFIG": docker_auth("R.Example.com", "ada", "pw:1").DOCKER_AUTH_CONFIG}

    found = find_credentials(environment, "r.example.com", "x", Proc(0))
    assert found == Credentials("ada", "pw:1")


def test_login_may_go_to_another_file(home: Path) -> None:
    write(home, {"auths": {"a": {"auth": "home"}}})
    (home / "own.json").write_text('{"auths": {"b": {"auth": "own"}}}')
    assert docker_auth(config_file="~/own.json").auth == {"auths": {"b": {"auth": "own"}}}


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            {"username": "ada", "password": "s3cr3t"},
            'the input "registry" is missing; give the host that the credentials are for',
        ),
        ({"helper_name": "ecr"}, 'the input "registry" is missing; give the host that the credentials are for'),
        (
            {"registry": "r.io", "password": "s3cr3t"},
            'the input "username" is missing; give the user whose password it is',
        ),
        (
            {"registry": "r.io", "username": "ada"},
            'the input "password" is missing or empty; give the password or token of the user',
        ),
        (
            {"registry": "r.io", "helper_name": "docker-credential-ecr"},
            'the input "helper_name" begins with docker-credential-; give only what follows that',
        ),
        (
            {"config_file": "~/none"},
            "{home}/none: the file does not exist; correct the input config_file or leave it out",
        ),
        (
            {**ADA, "registry": "https://"},
            'the input "registry" is missing; give the host that the credentials are for',
        ),
        ({"config_file": "~/deep"}, "{home}/deep: is not a docker configuration; it must hold a JSON object"),
        ({"config_file": "~/broken"}, "{home}/broken: is not a docker configuration; it must hold a JSON object"),
        ({"config_file": "~/list"}, "{home}/list: is not a docker configuration; it must hold a JSON object"),
        ({"config_file": "~"}, "{home}: cannot be read: Is a directory"),
    ],
    ids=[
        "no registry",
        "no registry for a helper",
        "no user",
        "no password",
        "whole name of a helper",
        "no file",
        "no host",
        "deep JSON",
        "no JSON",
        "no object",
        "directory",
    ],
)
def test_unusable_login_is_refused_without_its_secrets(home: Path, inputs: dict[str, str], message: str) -> None:
    (home / "broken").write_text('{"auths": "s3cr3t"')
    (home / "deep").write_text("[" * 100_000)
    (home / "list").write_text('["s3cr3t"]')
    with pytest.raises(InputError) as raised:
        docker_auth(**inputs)
    assert str(raised.value) == message.format(home=home)


async def test_later_steps_have_the_login(workshop: Workshop, home: Path) -> None:
    """Two registries after one another, from a masked variable; the output is as secret as its parts."""
    steps = run_list(
        {"name": "one", "func": "builtin://docker/auth", "inputs": ADA},
        {"name": "two", "func": "builtin://docker/auth", "inputs": {"registry": "s.io", "helper_name": "ecr"}},
        {"name": "show", "script": "echo $DOCKER_AUTH_CONFIG; echo '${{ steps.two.outputs.auth.credHelpers }}'"},
    )
    exported, output = await workshop.output(steps, env={"HOME": str(home)})
    assert json.loads(exported) == {"auths": {"r.io": ADA_AUTH}, "credHelpers": {"s.io": "ecr"}}
    assert json.loads(output) == {"s.io": "ecr"}
