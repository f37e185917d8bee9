#!/usr/bin/env bash
# Guess: timeout waits for its command; when that has ended, no process is left.
# Truth: busybox's timeout executes the command in its own process. An orphan in its own session watches the clock: it
#        polls once a second and outlives the command by up to a second. A stopped command gives 143, not 124.
# Versions: busybox 1.35.0 (Debian 12's busybox-static; Alpine's default), against coreutils 9.1.
# Matters: on Alpine every `timeout 60 make` leaves an orphan. A runner that ends or reports the orphans of steps finds it
#          each time, and a runner that expects 124 misses the timeout.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$work" && apt-get -qq download busybox-static=1:1.35.0-4+deb12u1+b1 2>/dev/null && dpkg -x busybox-static_*.deb .)
echo "$("$work/bin/busybox" | head -n 1), $(timeout --version | head -n 1)"
left() { # processes of other sessions whose command line has this number of seconds
    ps -eo sid=,args= | awk -v own="$(ps -o sid= $$)" -v mark="timeout $1 " '$1 != own && index($0, mark) && !/awk/' | wc -l
}
tried() { # SECONDS COMMAND...: run "COMMAND SECONDS true-like command" and look
    seconds=$1; shift
    "$@" "$seconds" sh -c 'exec sleep 0.3' &
    pid=$!
    sleep 0.15
    echo "the process is $(cat "/proc/$pid/comm") while it runs"
    wait "$pid"
    echo "left after its end: $(left "$seconds")"
    sleep 2.5
    echo "2.5 s later: $(left "$seconds")"
    code=0; "$@" 1 sleep 5 || code=$?
    echo "exit status of a command that was stopped: $code"
}
got=$(echo coreutils; tried 7771 timeout; echo busybox; tried 7772 "$work/bin/busybox" timeout)
echo "$got"
[ "$got" = "coreutils
the process is timeout while it runs
left after its end: 0
2.5 s later: 0
exit status of a command that was stopped: 124
busybox
the process is sleep while it runs
left after its end: 1
2.5 s later: 0
exit status of a command that was stopped: 143" ] || { echo "changed: another timeout"; exit 1; }
