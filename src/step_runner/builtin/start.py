"""The program of a process that runs one Python function, with the module path of the step runner.

It is started as a file by an isolated Python (-I), because the step runner may be in a directory that only its own
process searches.
"""

import io
import json
import os
import sys


def main() -> None:
    """Read the request from stdin, replace stdin by an empty one, and run the request."""
    request = json.loads(sys.stdin.buffer.read().decode(errors="surrogateescape"))
    # Write each line at once and as a whole: other processes write to the log, too.
    assert isinstance(sys.stdout, io.TextIOWrapper)
    sys.stdout.reconfigure(line_buffering=True)
    os.dup2(os.open(os.devnull, os.O_RDONLY), sys.stdin.fileno())
    path = request.pop("path")
    if not getattr(sys, "frozen", False):  # the single file holds all its modules
        sys.path[:] = path
    from step_runner.builtin import child

    child.run(**request)


if __name__ == "__main__":
    main()
