#!/usr/bin/env bash
# Guess: Ctrl-C, or SIGINT from a runner, stops mariadb like any other server; postgres even prefers it.
# Truth: mariadbd blocks SIGINT in all of its threads. It serves on, however often SIGINT comes; SIGTERM is a clean
#        shutdown with exit status 0.
# Versions: mariadb 10.11.19 (Debian 12), Linux 6.18.
# Matters: a step whose servers are stopped by SIGINT waits for the whole grace period, then SIGKILL ends the database
#        in the middle of its work.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get -qq download mariadb-server-core=1:10.11.19-0+deb12u1 libaio1=0.3.113-4 liburing2=2.3-3 2>/dev/null
for package in *.deb; do dpkg -x "$package" .; done
export LD_LIBRARY_PATH=$work/lib/x86_64-linux-gnu:$work/usr/lib/x86_64-linux-gnu
usr/sbin/mariadbd --no-defaults --version | sed 's/^.*Ver/mariadbd/; s/ for .*//'
mkdir data; touch messages
# A shell has what it starts by & ignore SIGINT, hence --default-signal.
env --default-signal=INT usr/sbin/mariadbd --no-defaults --user="$(id -un)" --datadir="$work/data" --socket=socket \
    --lc-messages-dir="$work/usr/share/mysql" --skip-networking --skip-grant-tables 2>messages & pid=$!
until grep -q 'ready for connections' messages; do
    kill -0 "$pid" || { cat messages; exit 1; }
    sleep 0.1
done
blocked=$(awk '$1 == "SigBlk:" { print $2 }' /proc/"$pid"/task/*/status | while read -r mask; do
    echo $((0x$mask >> 1 & 1)); done | sort -u | tr -d '\n')
for _ in 1 2 3; do
    kill -INT "$pid"
    sleep 0.7
done
after=$(kill -0 "$pid" 2>/dev/null && echo serves || echo ended)
kill -TERM "$pid" 2>/dev/null || true
code=0; wait "$pid" || code=$?
got="threads that block SIGINT: $([ "$blocked" = 1 ] && echo all || echo "not all")
after three SIGINT: $after
after SIGTERM: exits $code, $(grep -q 'Shutdown complete' messages && echo "shutdown complete" || echo "no clean shutdown")"
echo "$got"
[ "$got" = "threads that block SIGINT: all
after three SIGINT: serves
after SIGTERM: exits 0, shutdown complete" ] || { echo "changed: SIGINT counts"; exit 1; }
