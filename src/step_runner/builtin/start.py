"""The program of a process that runs one Python function: looks for modules where the step runner does, and begins.

It is started as a file, by a Python that is told to look nowhere else, because the step runner may lie in a directory
that only its own process searches.
"""

import io
import json
import os
import sys


def main() -> None:
    """Take the request from stdin, which is empty from then on, and do what it says."""
    request = json.loads(sys.stdin.buffer.read().decode(errors="surrogateescape"))
    # Each line at once and as a whole: others write to the log, too.
    assert isinstance(sys.stdout, io.TextIOWrapper)
    sys.stdout.reconfigure(line_buffering=True)
    os.dup2(os.open(os.devnull, os.O_RDONLY), sys.stdin.fileno())
    path = request.pop("path")
    if not getattr(sys, "frozen", False):  # the single file finds everything in itself
        sys.path[:] = path
    from step_runner.builtin import child

    child.run(**request)


if __name__ == "__main__":
    main()
