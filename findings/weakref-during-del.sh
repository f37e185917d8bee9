#!/usr/bin/env bash
# Guess: while an object's __del__ runs, weak references to it are dead already: no other code can get hold of it.
# Truth: they still return the object. They are cleared after __del__; a callback of weakref.finalize runs after that.
# Versions: Python 3.11.7, 3.12.1 and 3.13.0 (CPython), each run as python3.
# Matters: a cache of weak references hands out an object whose __del__ has just closed its descriptor, to another thread or
#          to a signal handler. The number may by then belong to another file.
set -euo pipefail
python3 --version
got=$(python3 - <<'PYTHON'
import weakref

class Resource:
    def __del__(self) -> None:
        print("in __del__ the reference is", "dead" if seen() is None else "alive")

one = Resource()
seen = weakref.ref(one)
del one

class Finalized:
    pass

two = Finalized()
again = weakref.ref(two)
weakref.finalize(two, lambda: print("in finalize the reference is", "dead" if again() is None else "alive"))
del two
PYTHON
)
echo "$got"
[ "$got" = "in __del__ the reference is alive
in finalize the reference is dead" ] || { echo "changed: the order of clearing"; exit 1; }
