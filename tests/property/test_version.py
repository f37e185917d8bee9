"""The tags of versions, published in any order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from step_runner.builtin.version import Version, tags_of

NUMBERS = st.integers(0, 3)
VERSIONS = st.builds(Version, NUMBERS, NUMBERS, NUMBERS, st.sampled_from(["", "", "-rc1"]))


@given(st.lists(VERSIONS, unique=True, min_size=1))
def test_short_tag_is_highest_release_in_any_order(versions: list[Version]) -> None:
    tags: dict[str, Version] = {}
    for version in versions:
        tags |= dict.fromkeys(tags_of(version, tags), version)
    releases = [version for version in versions if not version.suffix]
    expected = {str(version): version for version in versions}
    for release in sorted(releases):
        short = (f"{release.major}.{release.minor}", f"{release.major}", "latest")
        expected |= dict.fromkeys(short, release)
    assert tags == expected


@given(VERSIONS)
def test_text_of_version_parses_to_equal_version(version: Version) -> None:
    assert Version.parse(str(version)) == version
