"""From a reference to a function."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from step_runner.errors import FetchError, FunctionFileError
from step_runner.functions.resolution import resolve, resolve_local
from step_runner.model import Exec, Function, Git, Local, Oci


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: str, word: str = "word") -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(f"{{}}\n---\nexec: {{command: [{word}]}}\n")


def word_of(function: Function) -> str:
    assert isinstance(function.body, Exec)
    return function.body.command[0]


def refusal(reference: Local, base: str = "") -> str:
    with pytest.raises(FetchError) as caught:
        resolve_local(reference, base)
    return str(caught.value)


def test_func_yml_comes_before_step_yml() -> None:
    write("both/func.yml", "new")
    write("both/step.yml", "old")
    write("old/step.yml", "old")

    assert word_of(resolve_local(Local(path="./both"), "")) == "new"
    assert word_of(resolve_local(Local(path="./old"), "")) == "old"


def test_resolution_uses_a_named_file() -> None:
    write("a/func.yml", "func")
    write("a/other.yml", "other")

    assert word_of(resolve_local(Local(path="./a", file="other.yml"), "")) == "other"


def test_function_has_its_directory_and_its_shown_name(here: Path) -> None:
    write("a/b/func.yml")
    function = resolve_local(Local(path="./b"), f"{here}/a")

    assert (function.directory, function.file) == (f"{here}/a/b", "a/b/func.yml")


def test_paths_are_relative_to_the_caller(here: Path) -> None:
    write("a/func.yml", "sibling")

    assert word_of(resolve_local(Local(path="../a"), f"{here}/b/c/..")) == "sibling"
    assert word_of(resolve_local(Local(path="../a"), "b")) == "sibling"
    assert word_of(resolve_local(Local(path=f"{here}/a"), "/elsewhere")) == "sibling"


def test_missing_directory_is_reported_with_a_similar_one() -> None:
    write("hello/func.yml")

    assert refusal(Local(path="./helo")) == 'helo: no such directory; did you mean "hello"?'


def test_missing_directory_is_reported_with_the_rule() -> None:
    assert refusal(Local(path="./x", file="y.yml")) == (
        "x/y.yml: no such file; a function is a directory with func.yml or step.yml"
    )


def test_directory_without_function_is_reported_with_its_files() -> None:
    write("a/build.yml")
    Path("empty").mkdir()

    assert refusal(Local(path="./a")) == (
        "a: it has neither func.yml nor step.yml, but has build.yml; "
        "a function is a directory with func.yml or step.yml"
    )
    assert refusal(Local(path="./empty")) == (
        "empty: it has neither func.yml nor step.yml; a function is a directory with func.yml or step.yml"
    )


def test_dangling_link_is_not_a_function() -> None:
    Path("a").mkdir()
    Path("a/func.yml").symlink_to("nowhere")

    assert refusal(Local(path="./a")) == "a/func.yml: cannot be read, no such file or directory"


def test_unchanged_file_is_read_once() -> None:
    write("a/func.yml")

    assert resolve_local(Local(path="./a"), "") is resolve_local(Local(path="./a"), "")


def test_changed_file_is_read_again() -> None:
    write("a/func.yml", "one")
    before = resolve_local(Local(path="./a"), "")
    write("a/func.yml", "two")
    os.utime("a/func.yml", ns=(1, 1))

    assert word_of(before) == "one"
    assert word_of(resolve_local(Local(path="./a"), "")) == "two"


def test_invalid_file_is_reported_each_time() -> None:
    Path("func.yml").write_text("{}\n---\nexec: 5\n")

    for _ in range(2):
        with pytest.raises(FunctionFileError, match=r'^./func.yml:3:7: "exec" of the definition is a number'):
            resolve_local(Local(path="."), "")


@pytest.mark.parametrize(
    ("reference", "path", "shown"),
    [
        (Git(url="https://h/x", revision="v1", directory="steps/a"), "steps/a/func.yml", "https://h/x@v1/steps/a/func.yml"),
        (Git(url="https://u:secret@h/x", revision="v1", file="b.yml"), "b.yml", "https://h/x@v1/b.yml"),
        (Oci(registry="r.io", repository="a", directory="d"), "d/step.yml", "r.io/a:latest/d/step.yml"),
        (Oci(registry="r.io", repository="a", tag="sha256:0"), "func.yml", "r.io/a@sha256:0/func.yml"),
    ],
)  # fmt: skip
def test_fetched_function_is_found_below_its_root(reference: Git | Oci, path: str, shown: str, here: Path) -> None:
    """Messages name the reference, not a place in the cache, and no password."""
    write(f"cache/{path}")
    function = resolve(reference, "/elsewhere", lambda _: f"{here}/cache")

    assert function.file == shown
    assert function.directory == str((here / "cache" / path).parent)


def test_fetched_directory_is_reported_by_its_reference(here: Path) -> None:
    with pytest.raises(FetchError) as caught:
        resolve(Git(url="https://h/x", revision="v1"), "", lambda _: str(here))

    assert str(caught.value).startswith(
        "https://h/x@v1: it has neither func.yml nor step.yml; "
        "a function is a directory with func.yml or step.yml; if it should be there, remove "
    )
