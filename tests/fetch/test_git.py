"""Fetches of functions from git repositories, with a real git server on loopback."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from step_runner.errors import FetchError
from step_runner.fetch.git.fetch import fetch_git
from step_runner.model import Git
from step_runner.proc import Proc

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fetch.conftest import FetchCache, GitServer, Project


def revise(project: Project) -> dict[str, str]:
    """Add three commits: under a tag, under an annotated tag and on a branch. Return a revision of each kind."""
    first = project.git("rev-parse", "HEAD")
    project.commit({"steps/hello/step.yml": "two"})
    project.git("tag", "v1")
    project.commit({"steps/hello/step.yml": "three"})
    project.git("tag", "--annotate", "v2", "--message", "second")
    project.git("checkout", "--quiet", "-b", "feature/four")
    fourth = project.commit({"steps/hello/step.yml": "four"})
    return {
        "a hash in the history": first,
        "a short hash in the history": first[:8],
        "a tag": "v1",
        "an annotated tag": "v2",
        "the hash of an annotated tag": project.git("rev-parse", "refs/tags/v2"),
        "a branch with a slash": "feature/four",
        "the hash of a tip": fourth,
        "a short hash of a tip": fourth[:12],
    }


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("a hash in the history", "one"),
        ("a short hash in the history", "one"),
        ("a tag", "two"),
        ("an annotated tag", "three"),
        ("the hash of an annotated tag", "three"),
        ("a branch with a slash", "four"),
        ("the hash of a tip", "four"),
        ("a short hash of a tip", "four"),
    ],
)
def test_revision_is_found_by_every_transport(
    url: str, project: Project, cache: FetchCache, kind: str, expected: str
) -> None:
    revisions = revise(project)

    assert cache.fetch_step(url, revisions[kind]) == expected


@pytest.mark.parametrize("protocol", ["version=2", ""], ids=["protocol 2", "protocol 0"])
@pytest.mark.parametrize("kind", ["a hash in the history", "a short hash in the history", "a tag"])
def test_whole_history_is_fetched_without_single_commits(
    server: GitServer,
    project: Project,
    cache: FetchCache,
    kind: str,
    protocol: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A server that sends no single commit by its hash is asked for the whole history."""
    server.shallow = False
    server.protocol = protocol
    revisions = revise(project)

    assert cache.fetch_step(server.url("project"), revisions[kind]) == ("two" if kind == "a tag" else "one")
    assert caplog.messages == []


def test_short_hash_is_found_on_filtering_server(
    server: GitServer, project: Project, cache: FetchCache, caplog: pytest.LogCaptureFixture
) -> None:
    project.git("config", "uploadpack.allowFilter", "true")
    short = revise(project)["a short hash in the history"]

    assert cache.fetch_step(server.url("project"), short) == "one"
    assert caplog.messages == []


@pytest.mark.parametrize("revision", ["main", "0123456789" * 4, "01234567"], ids=["branch", "hash", "short hash"])
def test_empty_repository_has_no_revision(
    server: GitServer, project: Project, cache: FetchCache, revision: str
) -> None:
    type(project)(server.root / "empty")

    with pytest.raises(FetchError, match=r"(the commit does not exist|no tag.* or .*); check the revision$"):
        cache.fetch(server.url("empty"), revision)


def test_tag_comes_before_branch_of_the_same_name(server: GitServer, project: Project, cache: FetchCache) -> None:
    project.git("tag", "both")
    project.git("checkout", "--quiet", "-b", "both")
    project.commit({"steps/hello/step.yml": "branch"})

    assert cache.fetch_step(server.url("project"), "both") == "one"


def test_branch_is_looked_up_at_each_use(url: str, project: Project, cache: FetchCache) -> None:
    before = cache.fetch(url, "main")
    project.commit({"steps/hello/step.yml": "newer"})
    after = cache.fetch(url, "main")

    step = "steps/hello/step.yml"
    assert ((before / step).read_text(), (after / step).read_text()) == ("one", "newer")


def test_unmoved_branch_is_looked_up_but_not_fetched(server: GitServer, project: Project, cache: FetchCache) -> None:
    """A branch whose commit is in the cache costs a lookup, and no transfer."""
    assert cache.fetch(server.url("project"), "main") == cache.fetch(server.url("project"), "main")
    assert server.packs() == 1


@pytest.mark.parametrize("kind", ["a tag", "an annotated tag", "a hash in the history", "a short hash in the history"])
def test_cached_tag_and_hash_need_no_network(server: GitServer, project: Project, cache: FetchCache, kind: str) -> None:
    revision = revise(project)[kind]
    first = cache.fetch(server.url("project"), revision)
    server.requests.clear()

    assert cache.fetch(server.url("project"), revision) == first
    assert server.requests == []


@pytest.mark.parametrize("text", ["", "f" * 39, "\0" * 40], ids=["empty", "short", "zeros"])
def test_damaged_cached_commit_of_tag_is_looked_up_again(
    server: GitServer, project: Project, cache: FetchCache, text: str
) -> None:
    """A tag whose cached commit cannot be read is looked up on the server."""
    project.git("tag", "v1")
    cache.fetch(server.url("project"), "v1")
    (noted,) = cache.root.glob("notes/git-revision@*")
    noted.write_text(text)

    assert cache.fetch_step(server.url("project"), "v1") == "one"
    server.requests.clear()
    assert cache.fetch_step(server.url("project"), "v1") == "one"
    assert server.requests == []


def test_cached_branch_fails_without_network(server: GitServer, project: Project, cache: FetchCache) -> None:
    url = server.url("project")
    cache.fetch(url, "main")
    server.close()

    with pytest.raises(
        FetchError,
        match=r"no connection to 127.0.0.1:\d+ \(connection refused\); check the URL and the network$",
    ):
        cache.fetch(url, "main")


def test_fetch_transfers_only_the_wanted_commit(server: GitServer, project: Project, cache: FetchCache) -> None:
    for number in range(5):
        project.commit({"steps/hello/step.yml": f"{number}"})
    lines: list[str] = []
    reference = Git(url=server.url("project"), revision="main")
    fetch_git(reference, cache, Proc(0), progress=lines.append)

    # The commit, three directories, the program, the link and the step file.
    assert lines[-1].startswith(f"fetching {server.url('project')}: 7 objects, ")


def test_modes_and_links_are_kept(url: str, cache: FetchCache) -> None:
    directory = cache.fetch(url, "main")

    assert os.access(directory / "run.sh", os.X_OK)
    assert stat.S_IMODE((directory / "steps/hello/step.yml").stat().st_mode) & 0o111 == 0
    assert (directory / "link").readlink() == Path("steps/hello/step.yml")
    assert {path.name for path in directory.iterdir()} == {"run.sh", "link", "steps"}


@contextmanager
def submodule(project: Project, url: str) -> Iterator[Project]:
    """Yield another project, which the first one has as the submodule `lib` with this URL."""
    other = type(project)(project.directory.parent / "library")
    commit = other.commit({"lib.sh": "library"})
    yield other
    project.git("update-index", "--add", "--cacheinfo", f"160000,{commit},lib")
    (project.directory / "lib").mkdir(exist_ok=True)
    project.git("config", "--file", ".gitmodules", "submodule.lib.path", "lib")
    project.git("config", "--file", ".gitmodules", "submodule.lib.url", url)
    project.git("add", ".gitmodules")
    project.git("commit", "--quiet", "--message", "submodule")


def test_submodule_is_checked_out(url: str, project: Project, cache: FetchCache) -> None:
    with submodule(project, "../library"):
        pass

    assert (cache.fetch(url, "main") / "lib/lib.sh").read_text() == "library"


def test_submodule_of_same_server_gets_credentials(server: GitServer, project: Project, cache: FetchCache) -> None:
    server.login = "ada:hunter2"
    with submodule(project, server.url("library")):
        pass

    assert (cache.fetch(server.url("project", "ada:hunter2"), "main") / "lib/lib.sh").read_text() == "library"


@pytest.mark.parametrize("kind", ["ssh", "local"])
def test_unfetchable_submodule_is_left_out(server: GitServer, project: Project, cache: FetchCache, kind: str) -> None:
    """A repository from the network must not name repositories of this machine."""
    library = (project.directory.parent / "library").as_uri()
    with submodule(project, "git@example.com:library.git" if kind == "ssh" else library):
        pass
    lines: list[str] = []
    reference = Git(url=server.url("project"), revision="main")
    directory = Path(fetch_git(reference, cache, Proc(0), progress=lines.append))

    assert list((directory / "lib").iterdir()) == []
    assert f"fetching {server.url('project')}: no https or http URL for submodule lib" in lines


def test_failed_submodule_is_named(server: GitServer, project: Project, cache: FetchCache) -> None:
    with submodule(project, "../nowhere"):
        pass

    with pytest.raises(
        FetchError, match=rf"^cannot fetch \"[0-9a-f]{{40}}\" of {server.url('nowhere')}: the repository does not exist"
    ):
        cache.fetch(server.url("project"), "main")

    assert cache.entries() == []


PROGRAM = """
import sys
from step_runner.fetch.cache import Cache
from step_runner.proc import Proc
from step_runner.fetch.git.fetch import fetch_git
from step_runner.model import Git
url, revision, root = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
print(fetch_git(Git(url=url, revision=revision), Cache(root), Proc(0)))
print("dulwich" in sys.modules)
"""


def test_ten_processes_make_one_checkout_with_one_fetch(server: GitServer, project: Project, cache: FetchCache) -> None:
    commit = project.git("rev-parse", "HEAD")
    command = [sys.executable, "-c", PROGRAM, server.url("project"), commit, str(cache.root)]
    with ExitStack() as stack:
        processes = [
            stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            for _ in range(10)
        ]
        for process in processes:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin
            process.stdin.write("go\n")
            process.stdin.flush()
        outputs = {process.communicate()[0].splitlines()[0] for process in processes}

    assert len(outputs) == 1
    assert (Path(outputs.pop()) / "steps/hello/step.yml").read_text() == "one"
    assert server.packs() == 1
    assert len(cache.entries()) == 1


@pytest.mark.parametrize("revision", ["v1", "hash"])
def test_cached_tag_or_hash_does_not_load_dulwich(
    server: GitServer, project: Project, cache: FetchCache, revision: str
) -> None:
    project.git("tag", "v1")
    wanted = project.git("rev-parse", "HEAD") if revision == "hash" else revision
    cache.fetch(server.url("project"), wanted)
    command = [sys.executable, "-c", PROGRAM, server.url("project"), wanted, str(cache.root)]
    output = subprocess.run(command, input="go\n", text=True, capture_output=True, check=True).stdout

    assert output.splitlines()[-1] == "False"
