"""No content of layers is written outside of the tree, and no link leads out of it."""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from step_runner.fetch.limits import Limits
from step_runner.fetch.oci.rootfs import LayerError, RootFs
from step_runner.proc import Proc

if TYPE_CHECKING:
    from collections.abc import Callable

NAMES = st.sampled_from(["a", "b", "c", "..", ".", ""])
PATHS = st.builds("".join, st.tuples(st.sampled_from(["", "/"]), st.lists(NAMES, max_size=5).map("/".join)))

ACTIONS: st.SearchStrategy[Callable[[RootFs], None]] = st.one_of(
    st.builds(lambda path: lambda tree: tree.add_directory(path, 0o755), PATHS),
    st.builds(lambda path: lambda tree: tree.add_file(path, 0o644, io.BytesIO(b"x").read, 1), PATHS),
    st.builds(lambda path, target: lambda tree: tree.add_link(path, target), PATHS, PATHS),
    st.builds(lambda path, target: lambda tree: tree.add_link(path, target), PATHS, PATHS),
    st.builds(lambda path, target: lambda tree: tree.add_hard_link(path, target), PATHS, PATHS),
    st.builds(lambda path: lambda tree: tree.remove(path), PATHS),
    st.builds(lambda path: lambda tree: tree.clear(path), PATHS),
    st.just(lambda tree: tree.begin_layer()),
)


@settings(max_examples=100)
@given(st.lists(ACTIONS, max_size=25))
def test_layers_write_nothing_outside_of_root(actions: list[Callable[[RootFs], None]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        around = Path(directory, "a")
        root = around / "b" / "c"
        root.mkdir(parents=True)
        (around / "secret").write_text("hunter2")
        tree = RootFs(root, Proc(0), Limits())
        for action in actions:
            try:
                action(tree)
            except LayerError:
                continue
            assert not any(path.is_symlink() and path.exists() for path in root.rglob("*"))
        tree.finish()
        links = [path for path in root.rglob("*") if path.is_symlink()]
        assert all(Path(os.path.realpath(link)).is_relative_to(root) for link in links)
        assert {path.name for path in (*around.iterdir(), *(around / "b").iterdir())} == {"b", "c", "secret"}
        assert (around / "secret").stat().st_nlink == 1
        assert (around / "secret").read_text() == "hunter2"
