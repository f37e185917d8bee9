"""From the text after `func:` to a reference, which says where a function is found."""

from __future__ import annotations

import posixpath
import re
import sys

from step_runner.errors import InputError
from step_runner.expression import has_expression
from step_runner.fetch.oci.names import HOST, checked_repository, checked_tag, split_image
from step_runner.model import Builtin, Dynamic, Git, Local, Oci, Reference
from step_runner.paths import with_slashes

REGISTRY = "registry.gitlab.com"
FOLDER_OF_FUNCTIONS = "steps"
BUILTIN = re.compile(r"(?:builtin|dist)://(?P<name>.*)", re.DOTALL)
SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")
DRIVE = re.compile(r"[a-zA-Z]:[/\\]")
OVER_SSH = re.compile(r"(?:ssh://|[\w.-]+@[\w.-]+:(?!\d+/))")
OF_IMAGE = re.compile(r"@sha(256|512):")
TAGGED = re.compile(r"/[^/:]*:[^/:]+$")
LONGEST = 4096
FORMS = 'write "./directory", "URL@REVISION", "builtin://NAME" or "REGISTRY/REPOSITORY:TAG"'


def parse_reference(text: str) -> Reference:
    """Return the reference that a text means, by the first form that fits: expression, path, builtin, git, OCI.

    Raise InputError with what to write instead.
    """
    reference = with_slashes(text.strip())
    if not reference:
        raise InputError(f"the reference is empty; {FORMS}")
    if has_expression(reference):
        return Dynamic(template=text)
    if len(reference) > LONGEST:
        raise InputError(f"the reference is longer than {LONGEST} characters; shorten it")
    if not reference.isprintable():
        raise InputError("the reference has a line break or a control character in it; remove it")
    if reference[0] in "./" or is_on_drive(reference):
        return _local(reference)
    if builtin := BUILTIN.fullmatch(reference):
        return _builtin(builtin["name"])
    if "@" in reference and not OF_IMAGE.search(reference):
        return _git(reference)
    return _oci(reference)


def names_step_file(path: str) -> bool:
    """Return whether a path is that of a step file; its ending alone decides."""
    return path.endswith((".yml", ".yaml"))


def is_on_drive(path: str) -> bool:
    """Return whether a path begins with a drive of Windows, as in `C:/functions`."""
    return sys.platform == "win32" and DRIVE.match(path) is not None


def git_reference(url: str, revision: str, directory: str = "", file: str | None = None) -> Git:
    """Return the git reference of a long form; `directory` is relative to the root of the repository.

    The URL may hold an expression. Raise InputError with what to write instead.
    """
    return Git(url=_url(url), revision=_revision(revision), directory=_directory(directory), file=_file(file))


def oci_reference(registry: str, repository: str, tag: str, directory: str = "", file: str | None = None) -> Oci:
    """Return the OCI reference of a long form; an empty tag is `latest`. Raise InputError with what to write."""
    return Oci(
        registry=_registry(registry),
        repository=checked_repository(_slashed(repository)),
        tag=checked_tag(tag.strip() or "latest"),
        directory=_directory(directory),
        file=_file(file),
    )


def _local(text: str) -> Local:
    head, tail = posixpath.split(text)
    if names_step_file(tail):
        return Local(path=head or ".", file=tail)
    return Local(path=text.rstrip("/") or "/")


def _builtin(name: str) -> Builtin:
    if not name.strip("/ "):
        raise InputError('the name of the builtin function is missing; write "builtin://script" or another name')
    return Builtin(name=name)


def _git(text: str) -> Git:
    location, _, revision = text.rpartition("@")
    url, _, inside = location.partition("/-/")
    if OVER_SSH.match(location if "@" in location else text):
        raise InputError('git over ssh is not supported; write "https://HOST/PATH@REVISION"')
    if "/" not in url.removeprefix(_scheme(url)).strip("/"):
        raise InputError('the reference has no repository or no revision; write "https://HOST/PATH@REVISION"')
    directory, file = _split_file(inside)
    return git_reference(url, revision, posixpath.join(FOLDER_OF_FUNCTIONS, directory), file)


def _oci(text: str) -> Oci:
    image, *rest = text.split(maxsplit=1)
    if scheme := _scheme(image):
        raise InputError(_scheme_advice(image, scheme))
    location, tag = split_image(image)
    first, _, remaining = location.partition("/")
    registry, repository = (first, remaining) if remaining and HOST.fullmatch(first) else (REGISTRY, location)
    if names_step_file(repository) or (registry == REGISTRY and "/" not in repository):
        local = f'for a function on this machine write "./{text}"' if re.fullmatch(r"[\w./-]+", text) else FORMS
        raise InputError(f'"{text}" is not a valid reference: {local}')
    return oci_reference(registry, checked_repository(repository), tag, *_split_file(rest[0] if rest else ""))


def _scheme_advice(text: str, scheme: str) -> str:
    """Return what to write in place of a URL without a revision; it may be meant for an image."""
    image = text.removeprefix(scheme)
    if scheme in ("docker://", "oci://"):
        return f'images are named without a scheme; write "{image}"'
    for_image = f', or for an image "{image}"' if TAGGED.search(image) else ""
    without_password = re.sub(r"//[^/@]*@", "//", text)
    return f'the reference has no revision; write "{without_password}@REVISION"{for_image}'


def _split_file(path: str) -> tuple[str, str | None]:
    head, tail = posixpath.split(path.strip())
    return (head, tail) if names_step_file(tail) else (path.strip(), None)


def _url(text: str) -> str:
    url = text.strip()
    if OVER_SSH.match(url) and not has_expression(url):
        raise InputError('git over ssh is not supported; write "https://HOST/PATH"')
    return url if SCHEME.match(url) or url.startswith("${{") else f"https://{url}"


def _scheme(url: str) -> str:
    found = SCHEME.match(url)
    return found.group() if found else ""


def _revision(text: str) -> str:
    revision = text.strip()
    if not revision:
        raise InputError('the revision is missing; write a tag, a branch or a commit after the "@"')
    if revision == ".git":
        raise InputError('".git" is not a valid revision: write a tag, a branch or a commit')
    return revision


def _directory(text: str) -> str:
    """Return the directory without doubled slashes and dots. Raise InputError if it leaves the root."""
    directory = posixpath.normpath(text.strip().strip("/") or ".")
    if directory == ".." or directory.startswith("../"):
        raise InputError(f'the directory "{text[:80]}" is outside of the repository; leave out the ".."')
    return "" if directory == "." else directory


def _file(name: str | None) -> str | None:
    if name and ("/" in name or "\\" in name):
        raise InputError(f'"{name[:80]}" is not a valid file name: put the directory into dir')
    return name or None


def _slashed(path: str) -> str:
    """Return a path with one slash between its parts and none around it."""
    return re.sub("/+", "/", path.strip()).strip("/")


def _registry(registry: str) -> str:
    """Return a host, perhaps followed by the first parts of a repository's path. Raise InputError for another text."""
    name = _slashed(registry)
    host, _, path = name.partition("/")
    if not re.fullmatch(r"[a-zA-Z0-9.-]+(?::\d+)?", host):
        shown = registry.rpartition("@")[2][:80]  # a URL has its login before the @
        raise InputError(f'"{shown}" is not a valid registry: write a host such as "{REGISTRY}"')
    if path:
        checked_repository(path)
    return name
