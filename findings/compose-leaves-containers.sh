#!/usr/bin/env bash
# Guess: `docker-compose up` that gets SIGTERM stops what it has started; where it cannot, it fails.
# Truth: while it is still starting containers, it says "Gracefully stopping...", exits 0, and some containers run on.
#        They are the daemon's, so nothing that ends the processes of the job ends them.
# Versions: docker-compose 1.29.2, Docker 20.10.24 (Debian 12), Linux 6.18.
# Matters: a step that is cancelled early leaves its database running, with its ports and volumes, for the next job; and
#        nothing says so.
set -euo pipefail
[ "$(id -u)" = 0 ] || { echo "not run: needs root"; exit 0; }
work=$(mktemp -d)
group=$(findmnt --noheadings --first-only --output TARGET --types cgroup2)/finding-$$
daemon=
leave() {
    if [ -n "$daemon" ]; then kill -KILL "$daemon" 2>/dev/null && wait "$daemon" 2>/dev/null || true; fi
    for _ in $(seq 100); do # processes that were killed need a moment
        find "$group" -depth -type d -exec rmdir {} + 2>/dev/null && break
        [ -d "$group" ] || break
        sleep 0.1
    done
    rm -rf "$work"
}
trap leave EXIT
cd "$work"
mkdir -p debs/partial system/usr/lib system/etc/docker image/bin log
apt-get -qq --yes --no-install-recommends -o Debug::NoLocking=1 -o Dir::Cache::archives="$work/debs" --download-only \
    install docker-compose=1.29.2-3 docker.io=20.10.24+dfsg1-1+deb12u1+b6 2>/dev/null
for package in debs/*.deb; do dpkg -x "$package" system; done
apt-get -qq download busybox-static=1:1.35.0-4+deb12u1+b1 2>/dev/null
dpkg -x busybox-static*.deb busybox
cp busybox/bin/busybox image/bin
ln -s busybox image/bin/sh; ln -s busybox image/bin/sleep
cat >within <<'SCRIPT'
for top in usr etc; do mount -t overlay -o "lowerdir=$0/$top:/$top" none "/$top"; done
exec "$@"
SCRIPT
within() { unshare --mount sh -c "$(cat within)" "$work/system" "$@"; }
cat >start <<'SCRIPT'
set -e
mount -t tmpfs none /etc/docker
mount -t cgroup2 none /sys/fs/cgroup
mkdir /sys/fs/cgroup/daemon
echo 0 >/sys/fs/cgroup/daemon/cgroup.procs
mount -t proc proc /proc
exec dockerd --bridge=none --iptables=false --ip6tables=false --storage-driver=vfs --pidfile="$0/pid" \
    --data-root="$0/data" --exec-root="$0/exec" --host="unix://$0/socket"
SCRIPT
mkdir "$group"
sh -c 'echo 0 >"$0/cgroup.procs"; exec "$@"' "$group" unshare --mount sh -c "$(cat within)" "$work/system" \
    unshare --mount --pid --net --ipc --cgroup --fork --kill-child sh -c "$(cat start)" "$work" >messages 2>&1 & daemon=$!
until [ -S socket ]; do
    kill -0 "$daemon" 2>/dev/null || { tail -n 3 messages; exit 1; }
    sleep 0.1
done
export DOCKER_HOST=unix://$work/socket
within docker-compose --version
within /usr/bin/docker --version
tar -C image -c . | within /usr/bin/docker import --change 'ENV PATH=/bin' - box >/dev/null
{
    echo 'version: "3.8"'
    echo 'services:'
    for number in 1 2 3 4 5 6 7 8; do
        echo "  web$number:"
        echo '    {image: box, network_mode: none, volumes: ["'"$work"'/log:/log"], command: [sh, -c, "echo >/log/up; sleep 60"]}'
    done
} >docker-compose.yml
unshare --mount sh -c "$(cat within)" "$work/system" docker-compose up >said 2>&1 & pid=$!
until [ -e log/up ]; do
    kill -0 "$pid" 2>/dev/null || { tail -n 3 said; exit 1; }
    sleep 0.05
done
kill -TERM "$pid"
code=0; wait "$pid" || code=$?
sleep 5
running=$(within /usr/bin/docker ps --quiet | wc -l)
got="docker-compose says: $(grep -o 'Gracefully stopping' said || true)
exits $code
5 s later containers run: $([ "$running" -gt 0 ] && echo yes || echo no)"
echo "$got"
[ "$got" = "docker-compose says: Gracefully stopping
exits 0
5 s later containers run: yes" ] || { echo "changed: it stops what it has started, or says that it did not"; exit 1; }
