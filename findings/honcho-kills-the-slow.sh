#!/usr/bin/env bash
# Guess: honcho that is stopped gives each of its programs the same time, or waits for all.
# Truth: its clock starts when the first of them has ended; SIGKILL ends the others five seconds later. One alone, or
#        several of which none ends, has all the time in the world.
# Versions: honcho 2.0.0 (PyPI), Python 3.11.
# Matters: a database that needs six seconds shuts down cleanly, until a line is added to the Procfile for a worker that
#        ends at once. The grace period of a runner around honcho changes nothing.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --target lib honcho==2.0.0
export PYTHONPATH=$work/lib
python3 --version
python3 -m honcho --version
cat >slow <<'SCRIPT'
trap 'sleep 7; echo finished >result; exit 0' TERM
echo ready >ready
while :; do sleep 0.1; done
SCRIPT
stopped() { # NAME: stop the programs of Procfile
    rm -f ready result
    python3 -m honcho start >/dev/null 2>&1 & pid=$!
    until [ -s ready ]; do sleep 0.1; done
    sleep 0.5
    kill -TERM "$pid"
    wait "$pid" || true
    echo "$1: the clean-up of seven seconds is $(cat result 2>/dev/null || echo "cut off")"
}
got=$(echo "database: exec bash slow" >Procfile; stopped "alone"
echo "worker: exec sleep 60" >>Procfile; stopped "next to a program that ends at once") 2>/dev/null
echo "$got"
[ "$got" = "alone: the clean-up of seven seconds is finished
next to a program that ends at once: the clean-up of seven seconds is cut off" ] || { echo "changed: another clock"; exit 1; }
