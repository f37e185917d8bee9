"""From the text after `func:` to a reference."""

from __future__ import annotations

import pytest

from step_runner.errors import InputError
from step_runner.functions.reference import git_reference, oci_reference, parse_reference
from step_runner.model import Builtin, Dynamic, Git, Local, Oci, Reference

DIGEST = "sha256:" + "0123456789abcdef" * 4
SHA512 = "sha512:" + "0123456789abcdef" * 8
GITLAB = "https://gitlab.com/c/s"
OURS = "registry.gitlab.com"


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        (".", Local(path=".")),
        ("..", Local(path="..")),
        ("./a/b", Local(path="./a/b")),
        (" ./a/b\n", Local(path="./a/b")),
        ("./a/dry-run.yml", Local(path="./a", file="dry-run.yml")),
        ("./step.yaml", Local(path=".", file="step.yaml")),
        ("/a/b/", Local(path="/a/b")),
        ("/", Local(path="/")),
        ("/step.yml", Local(path="/", file="step.yml")),
        ("./a@b", Local(path="./a@b")),
        ("gitlab.com/c/s@v1", Git(url=GITLAB, revision="v1", directory="steps")),
        ("gitlab.com/c/s/-/sub@v1", Git(url=GITLAB, revision="v1", directory="steps/sub")),
        ("gitlab.com/c/s/-/my.yml@v1", Git(url=GITLAB, revision="v1", directory="steps", file="my.yml")),
        ("gitlab.com/c/s/-/a/my.yml@v1", Git(url=GITLAB, revision="v1", directory="steps/a", file="my.yml")),
        ("gitlab.com/c/s@feature/x", Git(url=GITLAB, revision="feature/x", directory="steps")),
        ("http://u:p@h/x.git@main", Git(url="http://u:p@h/x.git", revision="main", directory="steps")),
        ("localhost:8080/x/y@main", Git(url="https://localhost:8080/x/y", revision="main", directory="steps")),
        ("file:///srv/x@main", Git(url="file:///srv/x", revision="main", directory="steps")),
        ("builtin://function/oci/build", Builtin(name="function/oci/build")),
        ("dist://script", Builtin(name="script")),
        ("a/b", Oci(registry=OURS, repository="a/b")),
        ("a/b:1.0", Oci(registry=OURS, repository="a/b", tag="1.0")),
        ("r.io/a:1 path/my.yml", Oci(registry="r.io", repository="a", tag="1", directory="path", file="my.yml")),
        ("r.io/a my.yml", Oci(registry="r.io", repository="a", file="my.yml")),
        ("r.io:5000/a/b:1 path", Oci(registry="r.io:5000", repository="a/b", tag="1", directory="path")),
        ("localhost:5000/a", Oci(registry="localhost:5000", repository="a")),
        (f"r.io/a@{DIGEST}", Oci(registry="r.io", repository="a", tag=DIGEST)),
        (f"r.io/a:1@{DIGEST}", Oci(registry="r.io", repository="a", tag=DIGEST)),
        (f"r.io/a@{SHA512}", Oci(registry="r.io", repository="a", tag=SHA512)),
        ("./${{ vars.X }}", Dynamic(template="./${{ vars.X }}")),
        ("${{ vars.URL }}@v1", Dynamic(template="${{ vars.URL }}@v1")),
    ],
)  # fmt: skip
def test_reference_has_the_form_of_its_text(text: str, reference: Reference) -> None:
    assert parse_reference(text) == reference


NAME = "use lower-case letters and digits with . _ - and / between them"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            " ",
            'the reference is empty; write "./directory", "URL@REVISION", "builtin://NAME" or '
            '"REGISTRY/REPOSITORY:TAG"',
        ),
        ("hello", '"hello" is not a valid reference: for a function on this machine write "./hello"'),
        ("a/b.yml", '"a/b.yml" is not a valid reference: for a function on this machine write "./a/b.yml"'),
        ("builtin://", 'the name of the builtin function is missing; write "builtin://script" or another name'),
        ("gitlab.com/c/s@", 'the revision is missing; write a tag, a branch or a commit after the "@"'),
        ("gitlab.com/c/s@.git", '".git" is not a valid revision: write a tag, a branch or a commit'),
        ("https://u:secret@h/x", 'the reference has no repository or no revision; write "https://HOST/PATH@REVISION"'),
        ("https://gitlab.com/c/s", 'the reference has no revision; write "https://gitlab.com/c/s@REVISION"'),
        (
            "http://h:5000/a:1",
            'the reference has no revision; write "http://h:5000/a:1@REVISION", or for an image "h:5000/a:1"',
        ),
        ("docker://h.io/a:1", 'images are named without a scheme; write "h.io/a:1"'),
        ("oci://h.io/a", 'images are named without a scheme; write "h.io/a"'),
        ("git@gitlab.com:c/s@v1", 'git over ssh is not supported; write "https://HOST/PATH@REVISION"'),
        ("h/s/-/../../x@v1", 'the directory "steps/../../x" is outside of the repository; leave out the ".."'),
        ("A/b:1", f'"A/b" is not a valid repository name; {NAME}'),
        ("a/b:-", '"-" is neither a tag nor a digest; write a tag such as "1.0" or "sha256:" and 64 digits'),
        ("./a\nb", "the reference has a line break or a control character in it; remove it"),
        ("a." * 1_000_000 + "@", "the reference is longer than 4096 characters; shorten it"),
    ],
    ids=lambda text: text[:30],
)  # fmt: skip
def test_invalid_reference_is_explained(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_reference(text)

    assert str(caught.value) == message


def test_long_git_form_starts_at_the_root_of_the_repository() -> None:
    assert git_reference("gitlab.com/c/s", "v1") == Git(url=GITLAB, revision="v1")
    assert git_reference(GITLAB, "v1", "/a//b/", "x.yml") == Git(
        url=GITLAB, revision="v1", directory="a/b", file="x.yml"
    )


def test_long_git_form_takes_an_expression_for_the_url() -> None:
    assert git_reference("${{ vars.URL }}", "v1").url == "${{ vars.URL }}"


def test_long_oci_form_names_registry_repository_and_tag() -> None:
    assert oci_reference("r.io/", "/a//b", "") == Oci(registry="r.io", repository="a/b", tag="latest")
    assert oci_reference("r.io", "a", DIGEST, "d/", "x.yml") == Oci(
        registry="r.io", repository="a", tag=DIGEST, directory="d", file="x.yml"
    )


def test_long_forms_refuse_invalid_values() -> None:
    with pytest.raises(InputError, match="is outside of the repository"):
        git_reference("gitlab.com/c/s", "v1", "../x")
    with pytest.raises(InputError, match="is not a valid file name: put the directory into dir"):
        git_reference("gitlab.com/c/s", "v1", "", "a/b.yml")


@pytest.mark.parametrize("path", ["group", "group/sub-group"])
def test_registry_of_the_long_form_may_have_a_path(path: str) -> None:
    assert oci_reference(f" r.io//{path}/ ", "a", "").registry == f"r.io/{path}"


@pytest.mark.parametrize(
    ("registry", "message"),
    [
        ("https://r.io", '"https://r.io" is not a valid registry: write a host such as "registry.gitlab.com"'),
        ("u:s3cr3t@r.io", '"r.io" is not a valid registry: write a host such as "registry.gitlab.com"'),
        ("https://u:s3/cr@3t@r.io/x", '"r.io/x" is not a valid registry: write a host such as "registry.gitlab.com"'),
        (
            "r.io/../../admin?x=",
            '"../../admin?x=" is not a valid repository name; use lower-case letters and digits',
        ),
        (
            "r.io/a b/#frag",
            '"a b/#frag" is not a valid repository name; use lower-case letters and digits',
        ),
    ],
)
def test_invalid_registry_is_refused_without_its_password(registry: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        oci_reference(registry, "a", "")

    assert str(caught.value).startswith(message)
