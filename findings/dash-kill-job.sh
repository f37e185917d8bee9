#!/usr/bin/env bash
# Guess: `kill %1` and `kill $(jobs -p)`, common in a clean-up trap, end a background job in every shell.
# Truth: in a script of dash neither does. `kill %1` asks for a process group that a script's job does not have ("No such
#        process"), and `$(jobs -p)` is empty, because the substitution is a subshell without jobs. `kill $!` works.
# Versions: dash 0.5.12 (sh of Debian 12), against bash 5.2.15 and busybox 1.35.0, where all three work.
# Matters: the trap runs, fails, and the server that it should stop survives.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$work" && apt-get -qq download busybox-static=1:1.35.0-4+deb12u1+b1 2>/dev/null && dpkg -x busybox-static_*.deb .)
echo "$(bash --version | head -n 1), dash $(dpkg-query -W -f '${Version}' dash), $("$work/bin/busybox" | head -n 1)"
cat >"$work/script" <<'SCRIPT'
ends() { sleep 0.2; grep -q 'State:.S' "/proc/$1/status" && { echo "survives"; kill "$1"; } || echo ended; }
sleep 20 & server=$!; kill %1; echo "kill %1: $(ends $server)"; wait
sleep 20 & server=$!; kill $(jobs -p); echo "kill \$(jobs -p): $(ends $server)"; wait
sleep 20 & server=$!; kill $!; echo "kill \$!: $(ends $server)"; wait
SCRIPT
got=$(for shell in bash dash "$work/bin/busybox ash"; do
    echo "${shell##*/}"
    $shell "$work/script" 2>/dev/null
done)
echo "$got"
[ "$got" = "bash
kill %1: ended
kill \$(jobs -p): ended
kill \$!: ended
dash
kill %1: survives
kill \$(jobs -p): survives
kill \$!: ended
busybox ash
kill %1: ended
kill \$(jobs -p): ended
kill \$!: ended" ] || { echo "changed: other shells end the job, or fewer"; exit 1; }
