"""Build tools, and languages that build and run in one command."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests.support.isolation import processes_of
from tests.tools.stopping import PAYLOAD, Seen, stopped
from tests.tools.toolbox import CACHE, debian, debian_system, pypi, within

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = shlex.join(PAYLOAD)
GRADLE = "gradle=4.4.1-18"
EXEC_GO = """package main

import (
	"os"
	"syscall"
)

func main() { syscall.Exec(os.Getenv("PAYLOAD_PYTHON"), []string{"python", os.Getenv("PAYLOAD")}, os.Environ()) }
"""
TEST_GO = EXEC_GO.replace("import (", 'import (\n\t"testing"').replace("func main()", "func TestPayload(t *testing.T)")
EXEC_RUST = """use std::os::unix::process::CommandExt;

fn payload() {
    let program = std::env::var("PAYLOAD_PYTHON").unwrap();
    std::process::Command::new(program).arg(std::env::var("PAYLOAD").unwrap()).exec();
}

fn main() {
    payload()
}

#[test]
fn runs() {
    payload()
}
"""


def built(log: Path, how: str, *command: str, cwd: Path) -> tuple[int | None, int, bool, bool]:
    """Stop a command that builds a program which becomes the payload; return status, signals, cleaned up, lives."""
    caches = {"GOCACHE": str(CACHE / "go"), "CARGO_TARGET_DIR": str(CACHE / "cargo"), "GOFLAGS": "-mod=mod"}
    seen = stopped(command, how, log, cwd=cwd, PAYLOAD_PYTHON=PAYLOAD[0], PAYLOAD=PAYLOAD[1], **caches)
    return seen.status, seen.received, seen.cleaned, seen.lives


@pytest.fixture
def go(tmp_path: Path) -> Path:
    """Return the directory of a program in Go, and its test."""
    if shutil.which("go") is None:
        pytest.skip("Go is not installed")
    (tmp_path / "go.mod").write_text("module example.org/payload\n\ngo 1.21\n")
    (tmp_path / "main.go").write_text(EXEC_GO)
    (tmp_path / "main_test.go").write_text(TEST_GO)
    return tmp_path


@pytest.fixture
def crate(tmp_path: Path) -> Path:
    """Return the directory of a program in Rust, and its test."""
    if shutil.which("cargo") is None:
        pytest.skip("Rust is not installed")
    (tmp_path / "src").mkdir()
    (tmp_path / "Cargo.toml").write_text('[package]\nname = "payload"\nversion = "0.1.0"\nedition = "2021"\n')
    (tmp_path / "src/main.rs").write_text(EXEC_RUST)
    return tmp_path


@pytest.mark.parametrize("command", [("go", "run", "."), ("go", "test", ".")], ids=" ".join)
def test_go_stops_without_its_program(command: tuple[str, ...], go: Path, log: Path) -> None:
    """Signalled alone, `go run` and `go test` die at once; the program gets no signal and continues."""
    assert built(log, "leader", *command, cwd=go) == (-15, 0, False, True)


@pytest.mark.parametrize("command", [("go", "run", "."), ("go", "test", ".")], ids=" ".join)
def test_program_of_go_is_stopped_by_product(command: tuple[str, ...], go: Path, log: Path) -> None:
    """The program gets one signal and has its time; the exit status is that of `go`, -15."""
    assert built(log, "product", *command, cwd=go) == (-15, 1, True, False)


@pytest.mark.parametrize("how", ["leader", "product"])
def test_cargo_run_becomes_its_program(how: str, crate: Path, log: Path) -> None:
    """`cargo run` replaces itself by the program, which gets one signal; the exit status is its own."""
    assert built(log, how, "cargo", "run", "--quiet", cwd=crate) == (0, 1, True, False)


def test_cargo_test_stops_without_its_program(crate: Path, log: Path) -> None:
    """Signalled alone, `cargo test` dies at once; the test continues."""
    assert built(log, "leader", "cargo", "test", "--quiet", cwd=crate) == (-15, 0, False, True)


def test_program_of_cargo_test_is_stopped_by_product(crate: Path, log: Path) -> None:
    """The test gets one signal and has its time."""
    assert built(log, "product", "cargo", "test", "--quiet", cwd=crate) == (-15, 1, True, False)


@pytest.mark.parametrize("how", ["leader", "group", "product"])
def test_make_passes_stop_on(how: str, tmp_path: Path, log: Path) -> None:
    """The recipe gets one or two signals, has its time, and make exits 143 or dies of the signal."""
    (tmp_path / "Makefile").write_text(f"all:\n\t{SCRIPT}\n")
    seen = stopped(("make",), how, log, cwd=tmp_path)
    assert (seen.cleaned, seen.lives) == (True, False)
    assert seen.received in (1, 2)
    assert seen.status in (-15, 2, 143)


def test_make_keeps_target_of_stopped_recipe(tmp_path: Path, log: Path) -> None:
    """make deletes the target first; a recipe that finishes its file while it stops makes it again."""
    recipe = 'trap "sleep 0.5; echo half >made; exit 1" TERM; echo begun >made; echo ready $$ >>"$PAYLOAD_LOG"\n'
    (tmp_path / "recipe").write_text(recipe + "while :; do sleep 0.1; done\n")
    (tmp_path / "Makefile").write_text("made:\n\tbash recipe\n")
    stopped(("make",), "product", log, cwd=tmp_path)
    assert (tmp_path / "made").read_text() == "half\n"
    assert subprocess.run(["make", "--question"], cwd=tmp_path, check=False).returncode == 0


@pytest.mark.parametrize(("version", "status"), [("1.11.1", 2), ("1.13.0", 0), ("1.13.2", 130)])
def test_ninja_exit_status_depends_on_version(version: str, status: int, tmp_path: Path, log: Path) -> None:
    """ninja 1.13.0 exits 0 when it is stopped; its commands have groups of their own, and get the signal."""
    ninja = (
        debian("ninja-build=1.11.1-2~deb12u1") / "usr/bin/ninja"
        if version == "1.11.1"
        else pypi(f"ninja=={version}") / "ninja"
    )
    (tmp_path / "build.ninja").write_text(f"rule payload\n  command = exec {SCRIPT}\nbuild made: payload\n")
    seen = stopped((ninja,), "product", log, cwd=tmp_path)
    assert (seen.status, seen.cleaned, seen.lives) == (status, True, False)


def gradle(log: Path, *arguments: str) -> tuple[str, ...]:
    """Return the command of gradle, in a project whose task `payload` runs the payload."""
    if shutil.which("java") is None:
        pytest.skip("no Java is installed")
    (log.parent / "settings.gradle").touch()
    task = f"task payload(type: Exec) {{ commandLine = {json.dumps(PAYLOAD)} }}\n"
    (log.parent / "build.gradle").write_text(task)
    options = ("--offline", "--gradle-user-home", log.parent / "home")
    return within(debian_system(GRADLE), "gradle", *options, *arguments)


def test_gradle_task_continues_after_its_client(log: Path) -> None:
    """Signalled alone, the client exits 143 at once; the daemon's task gets no signal, and continues."""
    seen = stopped(gradle(log, "--daemon", "payload"), "leader", log, cwd=log.parent)
    assert (seen.status, seen.received, seen.lives) == (143, 0, True)


def test_gradle_task_of_a_daemon_is_stopped_by_product(log: Path) -> None:
    """The default finds the daemon in its session: the task gets one or two signals, and has its time."""
    seen = stopped(gradle(log, "--daemon", "payload"), "product", log, cwd=log.parent)
    assert (seen.status, seen.cleaned, seen.lives) == (143, True, False)
    assert seen.received in (1, 2)


@pytest.mark.parametrize("how", ["leader", "product"])
def test_gradle_without_daemon_waits_for_its_task(how: str, log: Path) -> None:
    """With `--no-daemon` the task gets one or two signals, and has its time."""
    seen = stopped(gradle(log, "--no-daemon", "payload"), how, log, cwd=log.parent)
    assert (seen.status, seen.cleaned, seen.lives) == (143, True, False)
    assert seen.received in (1, 2)


def test_idle_gradle_daemon_ends_with_container(log: Path) -> None:
    """A build that succeeds leaves a daemon; `gracefulexitcmd` ends it, and its exit status is the build's."""
    product = (sys.executable, "-m", "gracefulexitcmd", "--")
    build = gradle(log, "--daemon", "--quiet", "tasks")
    subprocess.run((*product, *build), cwd=log.parent, check=True, stdout=subprocess.DEVNULL)
    assert list(log.parent.glob("home/daemon/*/*.log"))
    assert not processes_of(os.environ["TMPDIR"])


def stop_terraform(log: Path, how: str, command: str, *wrapper: str) -> tuple[Seen, dict[str, str]]:
    """Stop terraform in the middle of a `local-exec`; return what was seen, and the status of each resource."""
    if shutil.which("terraform") is None:
        pytest.skip("terraform is not installed")
    provisioner = {"local-exec": {"command": command}}
    payload = {"depends_on": ["terraform_data.begun"], "provisioner": provisioner}
    plan = {"resource": {"terraform_data": {"begun": {}, "payload": payload}}}
    (log.parent / "main.tf.json").write_text(json.dumps(plan))
    apply = (*wrapper, "terraform", "apply", "-auto-approve", "-input=false", "-no-color")
    seen = stopped(apply, how, log, cwd=log.parent, CHECKPOINT_DISABLE="1")
    resources = json.loads((log.parent / "terraform.tfstate").read_text())["resources"]
    return seen, {one["name"]: one["instances"][0].get("status", "made") for one in resources}


@pytest.mark.parametrize("how", ["leader", "product"])
def test_terraform_kills_program_of_local_exec(how: str, log: Path) -> None:
    """At the first signal terraform sends SIGKILL to the process of a `local-exec`, and writes its state."""
    seen, resources = stop_terraform(log, how, f"exec {SCRIPT}")
    assert (seen.status, seen.cleaned, seen.lives) == (1, False, False)
    assert resources == {"begun": "made", "payload": "tainted"}


def test_terraform_orphans_program_of_dash_in_local_exec(log: Path) -> None:
    """Signalled alone, terraform kills the shell and exits; the shell's program gets no signal, and continues."""
    seen, resources = stop_terraform(log, "leader", f"{SCRIPT}; exit $?")
    assert (seen.status, seen.received, seen.lives) == (1, 0, True)
    assert resources == {"begun": "made", "payload": "tainted"}


@pytest.mark.parametrize("how", ["product", "first leader"])
def test_program_of_shell_in_local_exec_gets_signal(how: str, log: Path) -> None:
    """A shell that stays takes the SIGKILL; the product signals the program, which has its time."""
    seen, resources = stop_terraform(log, how, f"{SCRIPT}; exit $?")
    assert (seen.status, seen.received, seen.cleaned, seen.lives) == (1, 1, True, False)
    assert resources == {"begun": "made", "payload": "tainted"}
