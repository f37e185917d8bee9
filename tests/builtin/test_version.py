"""Under which tags a version is published."""

from __future__ import annotations

import pytest

from step_runner.builtin.version import Version, tags_of
from step_runner.errors import InputError


@pytest.mark.parametrize(
    ("existing", "new", "written"),
    [
        ("", "1.0.0", "1.0.0 1.0 1 latest"),
        ("3 3.5 3.5.0", "3.5.1", "3.5.1 3.5 3 latest"),
        ("3 3.6 3.6.0 3.5 3.5.0", "3.5.1", "3.5.1 3.5"),
        ("3 3.5 3.5.0 2 2.1 2.1.0 2.1.1", "2.1.2", "2.1.2 2.1 2"),
        ("2.2.0 2.1.1 2.1.3 3.0.0", "2.1.2", "2.1.2"),
        ("3.5.0", "3.5.1-rc1", "3.5.1-rc1"),
        ("3.5.1-rc1 3.5.2-rc1", "3.5.1", "3.5.1 3.5 3 latest"),
        ("3.9.9 3.10.0", "3.9.10", "3.9.10 3.9"),
        ("v9.0.0 9 9.0 latest main 9.0.0.0 09.0.0", "1.0.0", "1.0.0 1.0 1 latest"),
        ("3.5.1 3.5 3 latest", "3.5.1", "3.5.1 3.5 3 latest"),
    ],
    ids=[
        "first",
        "newest",
        "a higher minor exists",
        "a higher major exists",
        "higher patches exist",
        "no release",
        "only releases are higher",
        "numbers are no texts",
        "other tags do not count",
        "again",
    ],
)
def test_release_gets_shorter_tags_if_it_is_the_newest(existing: str, new: str, written: str) -> None:
    """A release gets those shorter tags for which no newer release exists."""
    assert tags_of(Version.parse(new), existing.split()) == tuple(written.split())


@pytest.mark.parametrize(
    "text",
    ["", "1", "1.2", "v1.2.3", "1.2.3.4", "01.2.3", "1.2.3-", "1.2.3+b", "1.2.3 ", "1.2.x", "1.2.3-" + 128 * "a"],
)
def test_invalid_semantic_version_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"^version does not conform to semantic versioning major\.minor\.patch\[-rel"):
        Version.parse(text)


@pytest.mark.parametrize("text", ["0.0.0", "1.20.300", "1.2.3-rc.1", "1.2.3-a-b"])
def test_version_text_is_unchanged(text: str) -> None:
    assert str(Version.parse(text)) == text
