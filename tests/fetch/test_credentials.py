"""Credentials from DOCKER_AUTH_CONFIG: the choice of an entry, and the answers of helpers."""

from __future__ import annotations

import base64
import json
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.crowd import Crowd

from step_runner.errors import FetchError, StoppedError
from step_runner.fetch.oci.credentials import Credentials, find_credentials
from step_runner.proc import Proc

if TYPE_CHECKING:
    from pathlib import Path

NOBODY = Credentials()
ADA = Credentials("ada", "hunter2")


def auth(text: str) -> dict[str, str]:
    return {"auth": base64.b64encode(text.encode()).decode()}


def find(config: Any, registry: str = "r.example:5000", repository: str = "group/x", **environment: str) -> Credentials:
    text = config if isinstance(config, str) else json.dumps(config)
    return find_credentials({"DOCKER_AUTH_CONFIG": text, **environment}, registry, repository, Proc(0))


@pytest.fixture
def helper(tmp_path: Path) -> Path:
    """Return the directory of docker-credential-safe, which knows two servers and answers with $PASSWORD."""
    path = tmp_path / "docker-credential-safe"
    path.write_text(
        "#!/bin/sh\n"
        "read server\n"
        'case "$1 $server" in\n'
        '"get r.example:5000") echo "{\\"Username\\": \\"ada\\", \\"Secret\\": \\"$PASSWORD\\"}" ;;\n'
        '"get token.example") echo "{\\"Username\\": \\"<token>\\", \\"Secret\\": \\"$PASSWORD\\"}" ;;\n'
        '"get https://index.docker.io/v1/") echo "{\\"Username\\": \\"hub\\", \\"Secret\\": \\"$PASSWORD\\"}" ;;\n'
        '"get broken.example") echo "secret: hunter2"; exit 3 ;;\n'
        '"get garbage.example") echo "secret: hunter2" ;;\n'
        "*) echo credentials not found in native keychain; exit 1 ;;\n"
        "esac\n"
    )
    path.chmod(0o755)
    return tmp_path


def with_helper(config: Any, helper: Path, registry: str = "r.example:5000") -> Credentials:
    return find(config, registry, PATH=f"{helper}:{os.environ['PATH']}", PASSWORD="hunter2")


@pytest.mark.parametrize("environment", [{}, {"DOCKER_AUTH_CONFIG": ""}, {"DOCKER_AUTH_CONFIG": " \n"}])
def test_missing_configuration_gives_no_credentials(environment: dict[str, str]) -> None:
    assert not find_credentials(environment, "r.example", "x", Proc(0))


@pytest.mark.parametrize(
    "entry",
    [
        {"r.example:5000": auth("ada:hunter2")},
        {"r.example:5000": {"username": "ada", "password": "hunter2"}},
        {"r.example:5000": {**auth("ada:hunter2"), "username": "old", "password": "old"}},
        {"https://r.example:5000": auth("ada:hunter2")},
        {"https://r.example:5000/v2/": auth("ada:hunter2")},
        {"http://r.example:5000/v1": auth("ada:hunter2")},
        {"r.example:5000/v2/": auth("ada:hunter2")},
        {"https://r.example:5000": auth("bob:other"), "r.example:5000": auth("ada:hunter2")},
        {"r.example:5000/v2/": auth("bob:other"), "r.example:5000": auth("ada:hunter2")},
        {"r.example:5000/v2": auth("bob:other"), "r.example:5000": auth("ada:hunter2")},
        {"R.Example:5000": auth("ada:hunter2")},
        {"r.example:5000/group/x": auth("ada:hunter2"), "r.example:5000": auth("bob:other")},
        {"r.example:5000/group/x": {}, "r.example:5000": auth("ada:hunter2")},
        {"r.example:5000/group/y": auth("bob:other"), "r.example:5000": auth("ada:hunter2")},
    ],
    ids=[
        "auth",
        "user",
        "auth first",
        "https",
        "v2",
        "v1",
        "v2 without scheme",
        "exact before https",
        "exact before v2",
        "repository v2",
        "case",
        "repository",
        "empty repository",
        "other repository",
    ],
)
def test_credentials_entry_is_found(entry: dict[str, Any]) -> None:
    assert find({"auths": entry}) == ADA


@pytest.mark.parametrize(
    "config",
    [{}, {"auths": {}}, {"auths": None}, {"auths": {"other.example": auth("a:b")}}, {"auths": {"r.example:5000": {}}}],
    ids=["nothing", "empty", "null", "other registry", "empty entry"],
)
def test_registry_without_entry_gets_no_credentials(config: dict[str, Any]) -> None:
    assert find(config) == NOBODY


def test_password_may_contain_colon() -> None:
    assert find({"auths": {"r.example:5000": auth("ada:a:b")}}).password == "a:b"


@pytest.mark.parametrize(
    ("entry", "credentials"),
    [
        ({"identitytoken": "abc"}, Credentials(identity_token="abc")),
        ({"registrytoken": "abc"}, Credentials(registry_token="abc")),
        ({**auth("ada:"), "identitytoken": "abc"}, Credentials("ada", "", identity_token="abc")),
    ],
)
def test_identity_and_registry_tokens_are_found(entry: dict[str, str], credentials: Credentials) -> None:
    assert find({"auths": {"r.example:5000": entry}}) == credentials


@pytest.mark.parametrize("registry", ["docker.io", "index.docker.io", "registry-1.docker.io"])
@pytest.mark.parametrize("key", ["https://index.docker.io/v1/", "docker.io", "index.docker.io"])
def test_docker_hub_has_many_names(registry: str, key: str) -> None:
    assert find({"auths": {key: auth("ada:hunter2")}}, registry) == ADA


@pytest.mark.parametrize(
    ("config", "registry", "credentials"),
    [
        ({"credHelpers": {"r.example:5000": "safe"}}, "r.example:5000", ADA),
        ({"credHelpers": {"token.example": "safe"}}, "token.example", Credentials(identity_token="hunter2")),
        ({"credHelpers": {"unknown.example": "safe"}}, "unknown.example", NOBODY),
        ({"credHelpers": {"r.example:5000": "safe"}, "auths": {"r.example:5000": auth("b:b")}}, "r.example:5000", ADA),
        ({"credHelpers": {"r.example:5000": ""}, "credsStore": "safe"}, "r.example:5000", NOBODY),
        ({"credHelpers": {"docker.io": ""}, "credsStore": "safe"}, "index.docker.io", NOBODY),
        ({"credHelpers": {"other.example": ""}, "credsStore": "safe"}, "r.example:5000", ADA),
        (
            {"credHelpers": {"r.example:5000": ""}, "auths": {"r.example:5000": auth("bob:b")}},
            "r.example:5000",
            Credentials("bob", "b"),
        ),
        ({"credsStore": "safe"}, "r.example:5000", ADA),
        ({"credsStore": "safe"}, "unknown.example", NOBODY),
        ({"credsStore": "safe", "auths": {"r.example:5000": {}}}, "r.example:5000", ADA),
        ({"credsStore": "safe"}, "docker.io", Credentials("hub", "hunter2")),
        (
            {"credsStore": "safe", "auths": {"r.example:5000": auth("bob:b")}},
            "r.example:5000",
            Credentials("bob", "b"),
        ),
    ],
    ids=[
        "own",
        "identity token",
        "own, unknown",
        "before entry",
        "none",
        "none for hub",
        "none for another",
        "none and entry",
        "common",
        "unknown",
        "empty entry",
        "hub",
        "entry",
    ],
)
def test_credential_helper_is_called(
    config: dict[str, Any], registry: str, credentials: Credentials, helper: Path
) -> None:
    assert with_helper(config, helper, registry) == credentials


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("{", "DOCKER_AUTH_CONFIG is not JSON; give it the content that docker login writes to config.json"),
        ("[]", "DOCKER_AUTH_CONFIG is not a JSON object; give it the content that docker login writes to config.json"),
        ("[" * 100_000, "DOCKER_AUTH_CONFIG is not JSON; give it the content that docker login writes to config.json"),
        ({"auths": []}, None),
        ({"auths": ["hunter2"]}, "auths in DOCKER_AUTH_CONFIG is not an object; give it the content that"),
        ({"auths": {"r.example:5000": "hunter2"}}, 'the entry "r.example:5000" is not an object; write {"auth": "..."'),
        ({"auths": {"r.example:5000": {"auth": 1}}}, 'auth of "r.example:5000" is not a string; give it the content'),
        ({"auths": {"r.example:5000": {"auth": "hunter2"}}}, 'auth of "r.example:5000" is not base64 of user:password'),
        ({"auths": {"r.example:5000": auth("hunter2")}}, 'auth of "r.example:5000" is not base64 of user:password;'),
        (
            {"credsStore": "../safe"},
            '"../safe" is not a valid name of a credential helper; write what follows',
        ),
        ({"credsStore": "none"}, "docker-credential-none is not in PATH; install it, or add its directory to PATH"),
    ],
)
def test_unusable_credentials_are_explained_without_secrets(config: Any, reason: str | None) -> None:
    if reason is None:
        assert find(config) == NOBODY
        return
    with pytest.raises(FetchError) as caught:
        find(config)

    assert str(caught.value).startswith(f"resolving OCI registry authentication: {reason}")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("registry", "reason"),
    [
        ("broken.example", "docker-credential-safe ended with status 3; run it by hand to see why"),
        ("garbage.example", "the answer of docker-credential-safe is not JSON; run docker-credential-safe get by hand"),
    ],
)
def test_failing_helper_is_explained_without_its_output(helper: Path, registry: str, reason: str) -> None:
    with pytest.raises(FetchError) as caught:
        with_helper({"credsStore": "safe"}, helper, registry)

    assert str(caught.value).startswith(f"resolving OCI registry authentication: {reason}")
    assert "hunter2" not in str(caught.value)


def test_cancel_kills_hanging_helper_and_its_children(tmp_path: Path) -> None:
    """A cancel also ends a child of the helper that holds its output open."""
    started = tmp_path / "started"
    os.mkfifo(started)
    path = tmp_path / "docker-credential-slow"
    crowd = Crowd()
    hangs = f"sh -c 'trap \"\" TERM; echo > {started}; sleep 1000; :' {crowd.mark}"
    path.write_text(f"#!/bin/sh\n{hangs} & wait\n")
    path.chmod(0o755)
    proc = Proc(0)

    def cancel() -> None:
        started.read_text()
        proc.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    environment = {"DOCKER_AUTH_CONFIG": '{"credsStore": "slow"}', "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    with pytest.raises(StoppedError):
        find_credentials(environment, "r.example", "x", proc)
    thread.join()
    assert crowd.survivors() == []


def test_text_of_credentials_hides_secrets() -> None:
    everything = Credentials("ada", "hunter2", "identity", "token")

    assert everything.secrets == {"hunter2", "identity", "token", "YWRhOmh1bnRlcjI=", "YWRhOmh1bnRlcjI"}
    assert not any(secret in repr(everything) for secret in everything.secrets)


def test_empty_credentials_have_no_secrets() -> None:
    assert Credentials().secrets == set()
