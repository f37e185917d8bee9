"""Finds the credentials of registries in `DOCKER_AUTH_CONFIG`, which holds the text of Docker's config.json.

The rules are those of Docker's command: cli/config/configfile and docker-credential-helpers.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
from dataclasses import dataclass, field
from functools import partial
from subprocess import DEVNULL, PIPE
from typing import TYPE_CHECKING, Any, TypeAlias

from gracefulexitcmd import Cause, Cmd
from step_runner.errors import FetchError
from step_runner.fetch.oci.names import DOCKER_HUB_NAMES, is_docker_hub
from step_runner.fetch.url import basic

if TYPE_CHECKING:
    from collections.abc import Mapping

    from step_runner.proc import Proc

VARIABLE = "DOCKER_AUTH_CONFIG"
DOCKER_HUB = "https://index.docker.io/v1/"
HELPER_TIMEOUT = 60.0
"""Timeout in seconds of a credential helper, which may ask a service."""

HELPER_GRACE = 0.5
"""Grace period of a helper that is no longer needed: seconds between SIGTERM and SIGKILL."""

_TOKEN_USER = "<token>"  # docker-credential-helpers: the secret of this user is an identity token
_NOT_FOUND = "credentials not found in native keychain"
_ADVICE = "give it the content that docker login writes to config.json"
_Json: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """The credentials of a registry: a password or a token; false if there are none.

    An identity token is exchanged for access tokens; a registry token is an access token.
    """

    user: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""

    def __bool__(self) -> bool:
        return bool(self.user or self.password or self.identity_token or self.registry_token)

    @property
    def basic(self) -> str:
        """User and password in base64, as HTTP sends them."""
        return basic(self.user, self.password)

    @property
    def secrets(self) -> frozenset[str]:
        """The secrets to mask, in each form in which they are sent."""
        basic = {self.basic, self.basic.rstrip("=")} if self.password else set()
        return frozenset({self.password, self.identity_token, self.registry_token, *basic} - {""})


def find_credentials(environment: Mapping[str, str], registry: str, repository: str, proc: Proc) -> Credentials:
    """Return the credentials for a repository, from `DOCKER_AUTH_CONFIG` in the environment; false if it has none.

    The order is: a helper for the name, an entry with content, the common helper. The name of the repository comes
    before that of the registry. An empty helper means no helper, not even the common one. Raise FetchError if the text
    is not valid or a helper fails, and StoppedError after a cancel.
    """
    text = environment.get(VARIABLE, "")
    if not text.strip():
        return Credentials()
    config = _Config(_object(text, VARIABLE), environment, proc)
    registry = registry.lower()
    found = (config.find(name) for name in (f"{registry}/{repository}", *_names(registry)))
    return next(filter(None, found), None) or config.ask_store(registry)


def registry_name(key: str) -> str:
    """Return the registry that a key means, followed by the repository if the key has one.

    The result has no scheme and no version, which older tools write, and its host has lower case. In a key without a
    scheme, `v1` or `v2` is a version only with a slash at its end, else a repository.
    """
    scheme, _, rest = key.strip().rpartition("://")
    host, _, path = rest.partition("/")
    version = path.strip("/") in ("v1", "v2") and (scheme or path.endswith("/"))
    path = path.strip("/")
    return host.lower() if version or not path else f"{host.lower()}/{path}"


def _names(registry: str) -> tuple[str, ...]:
    return (registry, *sorted(DOCKER_HUB_NAMES - {registry})) if is_docker_hub(registry) else (registry,)


@dataclass(frozen=True, slots=True)
class _Config:
    document: _Json
    environment: Mapping[str, str] = field(repr=False)
    proc: Proc

    def find(self, name: str) -> Credentials:
        """Return the credentials under one name, by its helper or by its entry."""
        for key, helper in self._items("credHelpers", name):
            if helper := _text(helper, f'the helper of "{key}"'):
                return self._ask(helper, key)
        entries = (_entry(key, entry) for key, entry in self._items("auths", name))
        return next(filter(None, entries), Credentials())

    def ask_store(self, registry: str) -> Credentials:
        """Return the credentials from the common helper, unless the registry has a helper of its own."""
        has_own = any(map(partial(self._items, "credHelpers"), _names(registry)))
        store = "" if has_own else _text(self.document.get("credsStore") or "", "credsStore")
        return self._ask(store, DOCKER_HUB if is_docker_hub(registry) else registry) if store else Credentials()

    def _items(self, part: str, name: str) -> list[tuple[str, object]]:
        """Return the items of a part of the document with keys that mean `name`; the key `name` itself comes first."""
        items = self.document.get(part) or {}
        if not isinstance(items, dict):
            raise _refused(f"{part} in {VARIABLE} is not an object; {_ADVICE}")
        found = [(key, item) for key, item in items.items() if registry_name(key) == name]
        return sorted(found, key=lambda item: item[0] != name)

    def _ask(self, helper: str, server: str) -> Credentials:
        program = f"docker-credential-{helper}"
        answer = _object(self._run(helper, server) or "{}", f"the answer of {program}", f"run {program} get by hand")
        user, secret = (_text(answer.get(name) or "", f"{name} of {helper}") for name in ("Username", "Secret"))
        return Credentials(identity_token=secret) if user == _TOKEN_USER else Credentials(user, secret)

    def _run(self, helper: str, server: str) -> str:
        """Return the output of a helper, empty without credentials. A cancel ends the helper and its descendants."""
        if not re.fullmatch(r"[A-Za-z0-9._-]+", helper):
            raise _refused(
                f'"{helper[:80]}" is not a valid name of a credential helper; write what follows docker-credential-'
            )
        program = f"docker-credential-{helper}"
        path = shutil.which(program, path=self.environment.get("PATH"))
        if path is None:
            raise _refused(f"{program} is not in PATH; install it, or add its directory to PATH")
        command = Cmd(
            [path, "get"],
            input=f"{server}\n".encode(),
            stdout=PIPE,
            stderr=DEVNULL,
            grace=HELPER_GRACE,
            timeout=HELPER_TIMEOUT,
            env=self.environment,
        )
        try:
            with self.proc.listening(lambda _: command.cancel()):
                ended = command.run()
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise _refused(f"{program} cannot be started: {reason}; reinstall it") from None
        self.proc.check()
        if ended.cause is Cause.TIMEOUT:
            raise _refused(f"{program} did not answer in {HELPER_TIMEOUT:.0f} s; run it by hand")
        output = (ended.stdout or b"").decode("utf-8", "replace")
        if ended.exit_status and _NOT_FOUND not in output:
            raise _refused(f"{program} ended with status {ended.exit_status}; run it by hand to see why")
        return "" if ended.exit_status else output


def _entry(key: str, entry: object) -> Credentials:
    """Return the credentials in an entry; Docker leaves it empty if a helper has them."""
    if not isinstance(entry, dict):
        raise _refused(f'the entry "{key}" is not an object; write {{"auth": "..."}} there')
    names = ("username", "password", "identitytoken", "registrytoken", "auth")
    user, password, identity, token, auth = (_text(entry.get(name) or "", f'{name} of "{key}"') for name in names)
    if auth:
        user, password = _decoded(key, auth)
    return Credentials(user, password, identity, token)


def _decoded(key: str, auth: str) -> tuple[str, str]:
    try:
        user, colon, password = base64.b64decode(auth.strip(), validate=True).decode().partition(":")
    except ValueError:
        colon = user = password = ""
    if not colon:
        raise _refused(f'auth of "{key}" is not base64 of user:password; make it with docker login')
    return user, password.rstrip("\0")


def _object(text: str, what: str, advice: str = _ADVICE) -> _Json:
    # Do not show the text or the parser's error: both may hold a password.
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise _refused(f"{what} is not JSON; {advice}") from None
    if not isinstance(document, dict):
        raise _refused(f"{what} is not a JSON object; {advice}")
    return document


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise _refused(f"{what} is not a string; {_ADVICE}")
    return value


def _refused(reason: str) -> FetchError:
    return FetchError(f"resolving OCI registry authentication: {reason}")
