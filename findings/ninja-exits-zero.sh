#!/usr/bin/env bash
# Guess: every version of ninja exits with a status other than 0 when SIGTERM stops it.
# Truth: 1.11.1 exits 2, 1.13.0 silently exits 0 although nothing was built, 1.13.2 fails again.
# Versions: ninja 1.11.1 (Debian 12), 1.13.0 and 1.13.2 (PyPI).
# Matters: a step that is stopped in the middle of a build counts as a success if only its exit status is checked.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
printf 'rule slow\n  command = sleep 5 && touch $out\nbuild made: slow\n' >"$work/build.ninja"
(cd "$work" && apt-get -qq download ninja-build=1.11.1-2~deb12u1 2>/dev/null && dpkg -x ninja-build_*.deb 1.11.1 &&
    mv 1.11.1/usr/bin 1.11.1/bin)
for version in 1.13.0 1.13.2; do
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore \
        --target "$work/$version" "ninja==$version"
done
got=$(for version in 1.11.1 1.13.0 1.13.2; do
    (cd "$work" && exec setsid "$work/$version/bin/ninja" >/dev/null) & pid=$!
    for _ in $(seq 50); do pgrep -P "$pid" >/dev/null && break; sleep 0.1; done
    sleep 0.3
    kill -TERM "$pid"
    code=0; wait "$pid" || code=$?
    echo "ninja $version: exit status $code, made: $([ -e "$work/made" ] && echo yes || echo no)"
done)
echo "$got"
[ "$got" = "ninja 1.11.1: exit status 2, made: no
ninja 1.13.0: exit status 0, made: no
ninja 1.13.2: exit status 130, made: no" ] || { echo "changed: other exit statuses"; exit 1; }
