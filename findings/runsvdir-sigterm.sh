#!/usr/bin/env bash
# Guess: SIGTERM to runit's runsvdir stops its services, as with any other supervisor.
# Truth: runsvdir exits 0 at once, and each runsv continues its service as an orphan. SIGHUP stops them (status 111).
# Versions: runit 2.1.2 (Debian 12).
# Matters: a step that runs its services under runsvdir seems to stop successfully, while all services continue.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$work" && apt-get -qq download runit=2.1.2-54 2>/dev/null && dpkg -x runit_*.deb .)
echo "runit $(dpkg-deb -f "$work"/runit_*.deb Version)"
export PATH="$work/usr/bin:$PATH"
stopped() { # SIGNAL: what runsvdir and its service do
    mkdir -p "$work/$1/web"
    printf '#!/bin/sh\necho $$ >pid\nexec sleep 60\n' >"$work/$1/web/run"
    chmod +x "$work/$1/web/run"
    runsvdir "$work/$1" & pid=$!
    until [ -s "$work/$1/web/pid" ]; do sleep 0.1; done
    service=$(cat "$work/$1/web/pid")
    kill "-$1" "$pid"
    code=0; wait "$pid" || code=$?
    sleep 1.5
    echo "SIG$1: runsvdir exits $code, service $(kill -0 "$service" 2>/dev/null && echo "survives" || echo ended)"
    sv -w 5 exit "$work/$1/web" >/dev/null 2>&1 || true
}
got=$(stopped TERM; stopped HUP)
echo "$got"
[ "$got" = "SIGTERM: runsvdir exits 0, service survives
SIGHUP: runsvdir exits 111, service ended" ] || { echo "changed: other ends"; exit 1; }
