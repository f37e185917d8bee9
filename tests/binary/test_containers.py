"""The two container images, built as directory trees, without a container engine."""

from __future__ import annotations

import base64
import json
import platform
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.bare_root import BareRoot
from tests.support.containerfile import Image, build

from step_runner import __version__

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.timeout(180)  # the first test builds the file

PROJECT = Path(__file__).parent.parent.parent

HELPER = "/opt/gitlab-runner/gitlab-runner-helper"

GITLABS = '#!/bin/sh\necho "GitLab\'s ${0##*/}: $*"\n'


@pytest.fixture
def image(temporary: str, program: Path) -> tuple[BareRoot, Callable[[str], Image]]:
    """Make a root directory with GitLab's programs at their paths, and a function that builds images there."""
    root = BareRoot(Path(temporary, "r"))
    root.write("usr/bin/gitlab-runner-helper", GITLABS)
    (root.path / "usr/bin/gitlab-runner-helper").chmod(0o755)
    context = Path(temporary, "c")
    shutil.copytree(PROJECT / "containers", context / "containers")
    (context / "dist").mkdir()
    shutil.copy(program, context / f"dist/step-runner-linux-{platform.machine()}")

    def made(name: str) -> Image:
        file = context / "containers" / f"{name}.Containerfile"
        return build(file, context, root.path, {"ARCH": platform.machine()})

    return root, made


def test_step_runner_image_copies_its_program_to_jobs(image: tuple[BareRoot, Callable[[str], Image]]) -> None:
    """GitLab Runner 17.11 to 18.5 lets it copy itself into a volume, and starts the copy in the image of the job."""
    root, made = image
    built = made("step-runner")
    assert built.entrypoint == ("/step-runner",)
    assert root.run(*built.entrypoint, "bootstrap", "/volume/").returncode == 0
    assert root.run("/volume/step-runner", "--version").stdout == f"step-runner {__version__}\n"
    waiting = root.run("/volume/step-runner", "proxy", "--socket", "/tmp/s.sock")
    assert (waiting.returncode, "dialing: /tmp/s.sock" in waiting.stderr) == (1, True)


@pytest.mark.parametrize("path", [HELPER, "/usr/bin/gitlab-runner-helper"])
def test_helper_image_passes_only_steps_to_step_runner(
    image: tuple[BareRoot, Callable[[str], Image]], path: str
) -> None:
    root, made = image
    assert ":ubuntu-" in made("helper").base
    assert root.run(path, "steps", "--help").stdout.startswith("Usage: step-runner steps ")
    assert root.run(path, "cache-archiver", "--file", "x y").stdout == (
        "GitLab's gitlab-runner-helper: cache-archiver --file x y\n"
    )
    assert root.run(path).stdout == "GitLab's gitlab-runner-helper: \n"
    assert root.run(path, "steps", "bootstrap", "/volume/gitlab-runner-helper").returncode == 0
    assert root.run("/volume/gitlab-runner-helper", "steps", "--help").returncode == 0


def test_helper_image_takes_arguments_from_variable(image: tuple[BareRoot, Callable[[str], Image]]) -> None:
    """An entry point of the job's image may have dropped the arguments."""
    root, made = image
    made("helper")
    arguments = base64.b64encode(json.dumps(["steps", "proxy", "--help"]).encode()).decode()
    ended = root.run(HELPER, env={"_GITLAB_RUNNER_HELPER_NATIVE_STEPS_ARGV": arguments})
    assert ended.stdout.startswith("Usage: step-runner steps proxy ")


def test_wrapper_serves_under_name_gitlab_runner(image: tuple[BareRoot, Callable[[str], Image]]) -> None:
    """The instance executor calls `gitlab-runner steps serve`, and shows its output as the output of the job."""
    root, made = image
    made("helper")
    shutil.copy(root.path / HELPER.lstrip("/"), root.path / "bin/gitlab-runner")
    root.write("opt/step-runner/gitlab-runner", GITLABS)
    (root.path / "opt/step-runner/gitlab-runner").chmod(0o755)
    assert root.run("/bin/gitlab-runner", "run").stdout == "GitLab's gitlab-runner: run\n"
    serve = (
        "/bin/gitlab-runner",
        "steps",
        "serve",
        "--socket",
        "/tmp/s.sock",
        "sh",
        "-c",
        "read -r x; echo $x; exit 3",
    )
    process = root.start(*serve, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    output, _ = process.communicate("done\n")
    assert (process.returncode, output) == (3, "step-runner is listening on socket /tmp/s.sock\ndone\n")
