#!/usr/bin/env bash
# Guess: `from __future__ import annotations` makes classes cheaper to create, as annotations stay text.
# Truth: typing.NamedTuple compiles each annotation at the creation of the class, to check it: four calls of the compiler
#        for three fields, one without the import. The same holds for TypedDict. `compile` is what an audit hook sees.
# Versions: Python 3.11.7, 3.12.1 and 3.13.0 (CPython), each run as python3.
# Matters: a program with a hundred such fields on its way to the first line of output pays some milliseconds at each start.
#          collections.namedtuple, or the annotations without the import, cost one call.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/count.py" <<'PYTHON'
import sys

calls = 0

def count(event: str, _: object) -> None:
    global calls
    calls += event == "compile"

sys.addaudithook(count)
TUPLE = "from typing import NamedTuple\nclass Point(NamedTuple):\n    x: int\n    y: int\n    name: str\n"
for title, text in ("with the import", "from __future__ import annotations\n" + TUPLE), ("without", TUPLE):
    code = compile(text, title, "exec")
    calls = 0
    exec(code, {"__name__": "example"})
    print(f"{title}: {'one call' if calls == 1 else 'more than three calls' if calls > 3 else calls}")
PYTHON
python3 --version
got=$(python3 "$work/count.py")
echo "$got"
[ "$got" = "with the import: more than three calls
without: one call" ] || { echo "changed: the calls of the compiler"; exit 1; }
