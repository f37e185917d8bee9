#!/usr/bin/env bash
# Guess: the start time of a process, field 22 of /proc/PID/stat, is the same number for each reader.
# Truth: the kernel adds the offset of the READER's time namespace. A reader whose boot clock is a day ahead sees the
#        same process start 8,640,000 ticks later.
# Versions: Linux 6.18, util-linux 2.38.1. Needs root, for a time namespace.
# Matters: libraries identify a process by its ID and start time. If one namespace writes them to a file and another one
#          compares them (containers restored by CRIU have one), the same process seems to be another one.
set -euo pipefail
[ "$(id -u)" = 0 ] || { echo "needs root, for a time namespace"; exit 2; }
echo "Linux $(uname -r), $(unshare --version)"
sleep 30 &
pid=$!
trap 'kill "$pid"' EXIT
outside=$(awk '{print $22}' "/proc/$pid/stat")
inside=$(unshare --time --boottime 86400 --fork awk '{print $22}' "/proc/$pid/stat")
echo "seen from outside: $outside, seen from inside: $inside, ticks per second: $(getconf CLK_TCK)"
[ "$((inside - outside))" = "$((86400 * $(getconf CLK_TCK)))" ] || { echo "changed: the offset is another"; exit 1; }
