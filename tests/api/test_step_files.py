"""A step that gets the paths of its output and export files finds both new and empty."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.steps import script

from step_runner.model import Status

if TYPE_CHECKING:
    from tests.api.conftest import Server

SHOWN = (
    "for file in ${{ output_file }} ${{ export_file }}; do stat -c '%n %F %a %s %h' $file; done"
    ' | sed "s|.*/||; s/-[0-9]*//"'
)
"""Prints the kind, mode, size and links of both files."""

NEW = b"output regular empty file 600 0 1\nexport regular empty file 600 0 1\n"

CHANGES = {
    "nothing": ":",
    "written": 'echo \'{"name": "a", "value": "b"}\' | tee ${{ output_file }} > ${{ export_file }}',
    "mode": "chmod 644 ${{ output_file }}",
    "link": "ln ${{ export_file }} ${{ export_file }}.link",
    "replaced and emptied": "rm ${{ output_file }} && touch ${{ output_file }}",
}


def _lines(log: bytes) -> bytes:
    return b"".join(line for line in log.splitlines(keepends=True) if not line.startswith(b"Running step"))


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_files_are_new_whatever_earlier_step_did(server: Server, change: str) -> None:
    status, log = server.run(script(change, SHOWN))
    assert (status.status, _lines(log)) == (Status.SUCCESS, NEW)


def test_files_are_not_those_of_background_process(server: Server) -> None:
    """A background process that writes to its step's output file later changes no output of the next step."""
    write = 'echo \'{"name": "late", "value": "x"}\' >> ${{ output_file }}'
    first = f"(read x < gate; {write}; echo > done) &"
    second = "echo > gate; read x < done; ls -A ${{ output_file }} | wc -l; cat ${{ output_file }}"
    status, log = server.run(script("mkfifo gate done", first, second))
    assert (status.status, _lines(log).partition(b"Stopping")[0]) == (Status.SUCCESS, b"1\n")


@pytest.mark.parametrize(
    "store", ["echo ${{ output_file }} > stored", "ln -s ${{ output_file }} link; echo link > stored"]
)
def test_path_of_earlier_step_leads_to_no_later_one(server: Server, store: str) -> None:
    """A process that appends by the path of an ended step changes no output of the step that runs then."""
    append = 'echo \'{"name": "late", "value": "x"}\' >> $(cat stored); cat ${{ output_file }} ${{ export_file }}'
    status, log = server.run(script(store, append, SHOWN))
    assert (status.status, _lines(log)) == (Status.SUCCESS, NEW)


def test_files_are_removed_after_step(server: Server) -> None:
    job = server.start(script(SHOWN, ": ${{ output_file }}"), job_id="files")
    server.ended(job)
    assert {path.name for path in (server.temporary / "step-runner-output-files").iterdir()} == {"ledger", "logs"}
