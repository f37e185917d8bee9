#!/usr/bin/env bash
# Guess: redis saves at SIGTERM and exits; if it cannot save, it exits with an error.
# Truth: it saves and exits 0. If it cannot save (here: its directory is gone), it refuses to exit: it goes on serving after
#        each SIGTERM, until SIGKILL, which loses its data.
# Versions: redis 7.0.15 (Debian 12), with a save point set.
# Matters: a step that removes its work directory before it stops its redis always uses up its whole grace period.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get -qq download redis-tools=5:7.0.15-1~deb12u10 libhiredis0.14=0.14.1-3 libjemalloc2=5.3.0-1 liblzf1=3.6-3 \
    liblua5.1-0=5.1.5-9 lua-cjson=2.1.0+dfsg-2.2 lua-bitop=1.0.2-7 libatomic1=12.2.0-14+deb12u1 2>/dev/null
for package in *.deb; do dpkg -x "$package" .; done
export LD_LIBRARY_PATH=$work/usr/lib/x86_64-linux-gnu
ln -s redis-check-rdb usr/bin/redis-server # one program, which looks at its name
usr/bin/redis-server --version | cut -d ' ' -f 1-3
stopped() { # NAME: stop a redis that has something to save, whose directory may be gone
    mkdir data
    (cd data && exec ../usr/bin/redis-server --port 0 --unixsocket "$work/socket" --save "3600 1" >/dev/null) & pid=$!
    until [ "$(usr/bin/redis-cli -s socket set key value 2>/dev/null)" = OK ]; do sleep 0.1; done
    if [ "$1" = gone ]; then rm -r data; fi
    for _ in 1 2; do
        kill -TERM "$pid" 2>/dev/null || true
        sleep 1
    done
    if [ "$(usr/bin/redis-cli -s socket get key 2>/dev/null)" = value ]; then
        echo "directory $1: still serves after two SIGTERM"
        kill -KILL "$pid"
        wait "$pid" 2>/dev/null || true
    else
        code=0; wait "$pid" || code=$?
        echo "directory $1: exits $code, saved: $(ls data)"
    fi
    rm -rf data
}
got=$(stopped there; stopped gone) 2>/dev/null
echo "$got"
[ "$got" = "directory there: exits 0, saved: dump.rdb
directory gone: still serves after two SIGTERM" ] || { echo "changed: another end"; exit 1; }
