"""Names of platforms, and the choice of the image that fits a machine best."""

from __future__ import annotations

import itertools

import pytest

from step_runner.errors import InputError
from step_runner.fetch.oci.platform import GENERIC, Platform, choose, listed, running_platform


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/x86_64", "linux/amd64"),
        ("Linux/X86-64", "linux/amd64"),
        ("linux/amd64/v1", "linux/amd64"),
        ("linux/amd64/v3", "linux/amd64/v3"),
        ("linux/aarch64", "linux/arm64/v8"),
        ("linux/AARCH64", "linux/arm64/v8"),
        ("linux/arm64/v8", "linux/arm64/v8"),
        ("linux/arm64/8", "linux/arm64/v8"),
        ("linux/arm64/v9", "linux/arm64/v9"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/armhf", "linux/arm/v7"),
        ("linux/armel", "linux/arm/v6"),
        ("linux/arm/v5", "linux/arm/v5"),
        ("linux/i686", "linux/386"),
        ("macos/arm64", "darwin/arm64/v8"),
        ("windows/amd64", "windows/amd64"),
        ("linux/s390x", "linux/s390x"),
        ("generic", "generic"),
        ("generic/generic", "generic"),
        ("linux/generic", "generic"),
    ],
)
def test_platform_names_are_normalised(written: str, shown: str) -> None:
    assert str(Platform.parse(written)) == shown


def test_arm64_v8_equals_arm64_without_variant() -> None:
    assert Platform.parse("linux/arm64/v8") == Platform.parse("linux/arm64")


@pytest.mark.parametrize("text", ["", "linux", "linux/", "/amd64", "linux/arm64/v8/x"])
def test_invalid_platform_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r'^invalid platform ".*"; write os/architecture, such as "linux/amd64", or'):
        Platform.parse(text)


@pytest.mark.parametrize(
    ("running", "offered", "chosen"),
    [
        ("linux/amd64", ["linux/arm64", "linux/amd64"], "linux/amd64"),
        ("linux/amd64", ["linux/386", "linux/amd64"], "linux/amd64"),
        ("linux/amd64", ["generic", "linux/386"], "linux/386"),
        ("linux/amd64", ["linux/amd64/v2", "generic"], "generic"),
        ("linux/amd64", ["darwin/amd64"], None),
        ("linux/arm64", ["linux/arm/v6", "linux/arm/v7", "linux/arm/v5"], "linux/arm/v7"),
        ("linux/arm64", ["linux/arm/v8", "linux/arm64"], "linux/arm64"),
        ("linux/arm64", ["linux/arm/v8", "linux/arm/v7"], "linux/arm/v8"),
        ("linux/arm64", ["linux/amd64", "generic"], "generic"),
        ("linux/arm64", ["linux/amd64"], None),
        ("linux/arm64/v9", ["linux/arm64"], "linux/arm64"),
        ("linux/arm/v7", ["linux/arm/v5", "linux/arm/v6"], "linux/arm/v6"),
        ("linux/arm/v6", ["linux/arm/v7"], None),
        ("linux/386", ["linux/amd64"], None),
        ("linux/riscv64", ["linux/riscv64"], "linux/riscv64"),
        ("linux/amd64", [], None),
    ],
)
def test_closest_platform_wins_in_any_order(running: str, offered: list[str], chosen: str | None) -> None:
    for order in itertools.permutations(map(Platform.parse, offered)):
        found = choose(order, Platform.parse(running))
        assert (None if found is None else order[found]) == (chosen and Platform.parse(chosen))


def test_first_of_two_equal_ones_wins() -> None:
    assert choose([GENERIC, running_platform(), running_platform()], running_platform()) == 1


@pytest.mark.parametrize(
    ("platforms", "names"),
    [
        ([], "none"),
        ([Platform("linux", "arm64"), GENERIC, Platform("linux", "arm64")], "generic, linux/arm64/v8"),
        ([Platform("\x1b[31mevil\nsecond line\x1b]0;pwn\x07", "mips")], "[31mevil second line ]0;pwn /mips"),
        (
            [Platform("os", str(number)) for number in range(12)],
            "os/0, os/1, os/10, os/11, os/2, os/3, os/4, os/5, os/6, os/7 and 2 more",
        ),
    ],
    ids=["none", "each once", "control characters", "many"],
)
def test_platforms_are_listed_as_readable_text(platforms: list[Platform], names: str) -> None:
    assert listed(platforms) == names
