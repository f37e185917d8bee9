"""Names of jobs and variables as parts of paths, and the removal of a job's files."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from step_runner.errors import StepRunnerError
from step_runner.jobs.workspace import REMOVED, Workspace, encoded
from step_runner.model import Variable


@settings(deadline=None)
@given(st.text(max_size=200))
def test_encoded_name_is_one_harmless_part_of_a_path(name: str) -> None:
    part = encoded(name)
    assert "/" not in part
    assert "\0" not in part
    assert part not in ("", ".", "..")
    assert len(f"step-runner-output-{part}".encode()) <= 255


@settings(deadline=None)
@given(st.text(max_size=200), st.text(max_size=200))
def test_different_names_have_different_encodings(one: str, other: str) -> None:
    assert (encoded(one) == encoded(other)) == (one == other)


@pytest.mark.parametrize("name", ["12345", "a_B-c~1", "1-run", "a.b"])
def test_usual_names_stay_readable(name: str) -> None:
    assert encoded(name) == name


def test_workspace_is_private_in_temporary_directory(temporary: str) -> None:
    """The directory of a job lies in the one for temporary files, and is closed to other users."""
    workspace = Workspace("12")
    assert workspace.directory == f"{temporary}/step-runner-output-12"
    assert stat.S_IMODE(os.stat(workspace.directory).st_mode) == 0o700
    workspace.remove()
    workspace.remove()
    assert os.listdir(temporary) == []


def test_workspaces_of_same_id_differ(temporary: str) -> None:
    one, other = Workspace("12"), Workspace("12")
    assert one.directory != other.directory
    one.remove()
    assert os.listdir(temporary) == [os.path.basename(other.directory)]


def test_workspace_follows_no_link_of_its_name(temporary: str) -> None:
    """Another user may have put the link there."""
    target = Path(temporary, "target")
    target.mkdir()
    Path(temporary, "step-runner-output-12").symlink_to(target)
    workspace = Workspace("12")
    workspace.variables([Variable(key="K", value="secret", file=True)])
    workspace.remove()
    assert list(target.iterdir()) == []


def test_file_variables_hold_exact_values() -> None:
    workspace = Workspace("12")
    values = workspace.variables([
        Variable(key="logs", value="a\r\nü\n", file=True),
        Variable(key="K", value="first", file=True),
        Variable(key="K", value="2nd", file=True),
        Variable(key="plain", value="$HOME"),
    ])  # fmt: skip
    assert values["plain"] == "$HOME"
    assert Path(values["logs"]).read_bytes() == "a\r\nü\n".encode()
    assert Path(values["K"]).read_text() == "2nd"
    assert stat.S_IMODE(os.stat(values["logs"]).st_mode) == 0o600
    assert not os.path.exists(workspace.log)


def test_uncreatable_directory_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("step_runner.temporary.directory", lambda: "/dev/null")
    with pytest.raises(StepRunnerError, match="initializing request: making the job's directory: "):
        Workspace("12")


def test_workspace_is_removed_with_files_of_steps(temporary: str) -> None:
    workspace = Workspace("1")
    directory = Path(workspace.directory, "a", "b")
    directory.mkdir(parents=True)
    (directory / "file").touch()
    workspace.remove()
    assert os.listdir(temporary) == []


def test_workspace_under_removal_has_a_name_of_its_own(temporary: str, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = Workspace("1")
    with monkeypatch.context() as patch:
        patch.setattr("step_runner.jobs.workspace.remove", lambda directory: not os.path.lexists(directory))
        assert not workspace.remove()
        assert [name.startswith(REMOVED) for name in os.listdir(temporary)] == [True]
    assert workspace.remove()
