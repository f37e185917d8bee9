#!/usr/bin/env bash
# Guess: a stopped make waits for the recipe, then deletes the half-made target, so that the next make builds it again.
# Truth: it deletes the target first and then waits. A recipe that writes its file while it stops gracefully makes it
#        again, and the next make says "up to date".
# Versions: GNU make 4.3 (Debian 12), Linux 6.18.
# Matters: a recipe that handles SIGTERM well, and writes its partial result, leaves an incomplete file that make accepts.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
make --version | head -n 1
cat >"$work/recipe" <<'SCRIPT'
trap 'sleep 0.5; echo "half of it" >report; exit 1' TERM
echo begun >report
while :; do sleep 0.1; done
SCRIPT
printf 'report:\n\tbash recipe\n' >"$work/Makefile"
cd "$work"
setsid make >/dev/null 2>&1 & pid=$!
until [ -s report ]; do sleep 0.05; done
kill -TERM -- "-$pid"
sleep 0.2
early=$([ -e report ] && echo there || echo deleted)
code=0; wait "$pid" 2>/dev/null || code=$?
got="while the recipe stops: report is $early
make exits $code, report holds: $(cat report)
next make: $(make)"
echo "$got"
[ "$got" = "while the recipe stops: report is deleted
make exits 143, report holds: half of it
next make: make: 'report' is up to date." ] || { echo "changed: make waits before it deletes"; exit 1; }
