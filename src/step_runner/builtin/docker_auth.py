"""Makes a docker configuration with the credentials of registries, for programs that read DOCKER_AUTH_CONFIG."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from step_runner.errors import InputError
from step_runner.fetch.oci.credentials import DOCKER_HUB, VARIABLE, registry_name
from step_runner.fetch.oci.names import is_docker_hub
from step_runner.plugin import Exported, Sensitive

CONFIG = "~/.docker/config.json"
HELPER = "docker-credential-"
BY_REGISTRY = ("auths", "credHelpers")


@dataclass(frozen=True)
class DockerAuth:
    """The configuration, as an object and as text for all later steps."""

    auth: Sensitive[dict[str, Any]]
    DOCKER_AUTH_CONFIG: Exported[str]


def docker_auth(
    registry: str = "",
    username: Sensitive[str] = "",
    password: Sensitive[str] = "",
    helper_name: str = "",
    store_name: str = "",
    config_file: str = "",
) -> DockerAuth:
    """Add a registry's credentials to the docker configuration.

    They are a user's password, a credential helper, or a credential store for all registries. The rest comes from
    DOCKER_AUTH_CONFIG and from `config_file` (default: ~/.docker/config.json); the variable overrides the file. A new
    entry replaces all others of its registry. Raise InputError.
    """
    _check(registry, username, password, helper_name)
    known = _merged(_of_file(config_file), _read(os.environ.get(VARIABLE, ""), f"the variable {VARIABLE}"))
    auth = _merged(known, _added(registry, username, password, helper_name, store_name))
    return DockerAuth(auth, json.dumps(auth))


def _check(registry: str, username: str, password: str, helper_name: str) -> None:
    if (username or helper_name) and not registry_name(registry):
        raise InputError('the input "registry" is missing; give the host that the credentials are for')
    if password and not username:
        raise InputError('the input "username" is missing; give the user whose password it is')
    if username and not password:
        raise InputError('the input "password" is missing or empty; give the password or token of the user')
    if helper_name.startswith(HELPER):
        raise InputError(f'the input "helper_name" begins with {HELPER}; give only what follows that')


def _added(registry: str, username: str, password: str, helper_name: str, store_name: str) -> dict[str, Any]:
    encoded = base64.b64encode(f"{username}:{password}".encode()).decode()
    key = _registry(registry)
    return {
        **({"auths": {key: {"auth": encoded}}} if username else {}),
        **({"credHelpers": {key: helper_name}} if helper_name else {}),
        **({"credsStore": store_name} if store_name else {}),
    }


def _of_file(given: str) -> dict[str, Any]:
    path = Path(given or CONFIG).expanduser()
    try:
        return _read(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        if given:
            raise InputError(
                f"{path}: the file does not exist; correct the input config_file or leave it out"
            ) from None
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8'}") from None


def _read(text: str, place: str) -> dict[str, Any]:
    if not text.strip():
        return {}
    try:
        config = json.loads(text)
    except (ValueError, RecursionError):  # do not show the message: it may hold a secret
        config = None
    if not isinstance(config, dict):
        raise InputError(f"{place}: is not a docker configuration; it must hold a JSON object")
    return config


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Return both configurations merged. A registry in `above`, in any spelling, has no entries from `below`."""
    replaced = {_registry(key) for name in BY_REGISTRY for key, value in _object(above, name).items() if value}
    kept = {
        name: {key: value for key, value in entries.items() if _registry(key) not in replaced}
        for name in BY_REGISTRY
        if (entries := _object(below, name))
    }
    return _deeply_merged({**below, **kept}, above)


def _deeply_merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Return both objects merged; a value of `above` replaces one of `below` unless both are objects."""
    both = {
        name: _deeply_merged(old, value)
        if isinstance(old := below.get(name), dict) and isinstance(value, dict)
        else value
        for name, value in above.items()
    }
    return {**below, **both}


def _object(config: dict[str, Any], name: str) -> dict[str, Any]:
    entries = config.get(name)
    return entries if isinstance(entries, dict) else {}


def _registry(key: str) -> str:
    """Return one name for all spellings of a registry."""
    name = registry_name(key)
    return DOCKER_HUB if is_docker_hub(name) else name
