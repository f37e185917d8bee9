"""Git URLs: the fetched URL, the shown URL, and the URLs that a submodule may name."""

from __future__ import annotations

import sys

import pytest

from step_runner.errors import FetchError
from step_runner.fetch.git.repository import Repository


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("gitlab.com/c/s", "https://gitlab.com/c/s"),
        ("https://GitLab.com/C/s/", "https://gitlab.com/C/s"),
        ("https://gitlab.com:443/c/s", "https://gitlab.com/c/s"),
        ("http://localhost:8080/c/s.git", "http://localhost:8080/c/s.git"),
        ("http://[::1]:80/x", "http://[::1]/x"),
        ("https://ada:secret@h/x?private_token=secret#y", "https://h/x"),
        ("ada:secret@h/x", "https://h/x"),
        ("file:///srv/a%20b/", "file:///srv/a%20b"),
    ],
)
def test_repository_text_hides_credentials_and_query(url: str, shown: str) -> None:
    repository = Repository.parse(url)

    assert str(repository) == shown
    assert "secret" not in repr(repository)


def test_credentials_are_decoded() -> None:
    repository = Repository.parse("https://a%40b:c%2Fd@h/x")

    assert (repository.url.user, repository.url.password) == ("a@b", "c/d")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (
            "ssh://git:secret@h/x",
            "cannot fetch from 'ssh://h/x': the scheme ssh is not supported; write an https, http or file URL",
        ),
        ("https:///x", "cannot fetch from 'https:///x': it has no host; write an https, http or file URL"),
        (
            "file://host/x",
            "cannot fetch from 'file://host/x': a file URL has no host; write an https, http or file URL",
        ),
        (
            "http://h/\x1bx",
            r"cannot fetch from 'http://h/\x1bx': it has control characters; write an https, http or file URL",
        ),
    ],
    ids=["scheme", "no host", "file host", "control characters"],
)
def test_unsupported_url_is_refused(url: str, message: str) -> None:
    with pytest.raises(FetchError) as caught:
        Repository.parse(url)

    assert str(caught.value) == message


@pytest.mark.parametrize(
    "url", ["https://ada:sec/ret@h/x", "git@h:secret/x", "https://h:secret@h:port/x", "http://[:secret@"]
)
def test_invalid_url_is_refused_without_its_credentials(url: str) -> None:
    """The message about a URL that cannot be read shows none of its credentials."""
    with pytest.raises(FetchError, match="write an https, http or file URL") as caught:
        Repository.parse(url)

    assert "sec/" not in str(caught.value)
    assert "secret@" not in str(caught.value)


@pytest.mark.parametrize(
    ("parent", "url", "expected"),
    [
        ("https://h/a/b", "../c", "https://h/a/c"),
        ("https://h/a/b", "./c", "https://h/a/b/c"),
        ("https://h/a", "../../../c", "https://h/c"),
        ("https://h/a", "http://i/c", "http://i/c"),
        ("https://h/a", "git@h:c", None),
        ("https://h/a", "ssh://h/c", None),
        ("https://h/a", "file:///c", None),
        ("https://h/a", "/c", None),
        ("https://h/a", "", None),
        ("file:///a", "file:///c", "file:///c"),
        ("file:///a", "/c d", "file:///c%20d"),
        ("file:///a", "https://h/c", "https://h/c"),
    ],
)
def test_submodule_url_is_relative_to_its_parent(parent: str, url: str, expected: str | None) -> None:
    submodule = Repository.parse(parent).submodule(url)

    assert (submodule and str(submodule)) == expected


@pytest.mark.parametrize(
    ("url", "user"),
    [
        ("../c", "ada"),
        ("https://h/c", "ada"),
        ("https://bob:x@h/c", "bob"),
        ("http://h/c", None),
        ("https://h:8443/c", None),
        ("https://i/c", None),
    ],
)
def test_credentials_stay_with_scheme_host_and_port(url: str, user: str | None) -> None:
    submodule = Repository.parse("https://ada:secret@h/a/b").submodule(url)

    assert submodule
    assert submodule.url.user == user


@pytest.mark.parametrize(
    ("login", "secrets"),
    [
        ("", set()),
        ("ada:s%2Ft@", {"s/t", "YWRhOnMvdA==", "YWRhOnMvdA"}),
        ("token@", {"token", "dG9rZW46"}),
    ],
    ids=["no login", "password", "token alone"],
)
def test_secrets_are_the_sent_values(login: str, secrets: set[str]) -> None:
    assert Repository.parse(f"https://{login}h/x").secrets == secrets


@pytest.mark.skipif(sys.platform == "win32", reason="a path has other rules there")
@pytest.mark.parametrize(
    ("url", "path"),
    [("file:///srv/a%20b", "/srv/a b"), ("file:////srv/x", "//srv/x"), ("file:///a%FF", "/a\udcff"), ("file:///", "/")],
)
def test_file_url_names_any_path(url: str, path: str) -> None:
    """Neither a second slash nor a name that is not UTF-8 keeps a repository from being found."""
    assert Repository.parse(url).local_path == path
