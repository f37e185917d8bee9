#!/usr/bin/env bash
# Guess: stopping `gradle deploy` stops what its tasks run, at the latest when gradle has exited.
# Truth: the client exits 143 at once. The task's program belongs to the daemon, in a session of its own: it runs on, and
#        gets no signal for ten seconds. Then the daemon sends SIGTERM, and ends as well.
# Versions: gradle 4.4.1 (Debian 12), OpenJDK 17, Linux 6.18.
# Matters: for ten seconds after its end a cancelled deployment still deploys, next to the job that was to replace it; a
#        runner that watches the client or its group sees nothing of that.
set -euo pipefail
command -v java >/dev/null || { echo "not run: no Java is installed"; exit 0; }
work=$(mktemp -d)
leave() {
    for log in "$work"/home/daemon/*/daemon-*.out.log; do # the daemon is over soon after its task, or ended here
        [ -e "$log" ] || continue
        daemon=${log##*/daemon-}; daemon=${daemon%.out.log}
        for _ in $(seq 100); do kill -0 "$daemon" 2>/dev/null || break; sleep 0.1; done
        kill -KILL "$daemon" 2>/dev/null || true
    done
    rm -rf "$work"
}
trap leave EXIT
cd "$work"
mkdir -p system/usr/lib system/etc debs/partial project
apt-get -qq --yes --no-install-recommends -o Debug::NoLocking=1 -o Dir::Cache::archives="$work/debs" --download-only \
    install gradle=4.4.1-18 2>/dev/null
for package in debs/*.deb; do dpkg -x "$package" system; done
java -version 2>&1 | head -n 1
echo "gradle $(dpkg-deb --field debs/gradle_*.deb Version)"
cat >project/deploy <<'SCRIPT'
trap 'echo signalled; exit 0' TERM
echo ready
while :; do sleep 0.1; done
SCRIPT
touch project/settings.gradle
echo "task deploy(type: Exec) { commandLine 'sh', '-c', 'exec bash deploy >log' }" >project/build.gradle
cat >build <<'SCRIPT'
for top in usr etc; do mount -t overlay -o "lowerdir=system/$top:/$top" none "/$top"; done
cd project && exec gradle --offline --daemon --gradle-user-home ../home deploy
SCRIPT
setsid unshare --mount sh build >/dev/null 2>&1 & pid=$!
until grep -q ready project/log 2>/dev/null; do
    kill -0 "$pid" || { echo "gradle has not run its task"; exit 1; }
    sleep 0.1
done
sleep 1
kill -TERM -- "-$pid"
code=0; wait "$pid" 2>/dev/null || code=$?
sleep 5
early=$(grep -q signalled project/log && echo "was signalled" || echo "runs, and was not signalled")
for _ in $(seq 300); do
    grep -q signalled project/log && break
    sleep 0.1
done
got="one SIGTERM to gradle's group: exits $code
5 s later the task's program $early
within 30 s it $(grep -q signalled project/log && echo "was signalled" || echo "was not signalled")"
echo "$got"
[ "$got" = "one SIGTERM to gradle's group: exits 143
5 s later the task's program runs, and was not signalled
within 30 s it was signalled" ] || { echo "changed: the task ends with its client"; exit 1; }
