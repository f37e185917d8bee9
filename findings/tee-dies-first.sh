#!/usr/bin/env bash
# Guess: `deploy.sh | tee log`, stopped by SIGTERM to its process group, runs the trap of deploy.sh to its end; at worst
#        its last output is missing in the log.
# Truth: tee ends at once. The first line that the trap prints raises SIGPIPE, which kills deploy.sh in the middle of its
#        clean-up. If tee ignores SIGTERM, the trap runs to its end and the log is whole.
# Versions: coreutils 9.1, bash 5.2.15, dash 0.5.12.
# Matters: the pipe to tee is the usual way to keep a log, and most runners signal the process group.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "$(tee --version | head -n 1), $(bash --version | head -n 1), $(dpkg-query -W dash | tr '\t' ' ')"
cat >"$work/deploy.sh" <<'SCRIPT'
trap 'sleep 0.3; echo cleaning up; rm lock; echo cleaned up; exit 1' TERM
touch lock
echo ready
while :; do sleep 0.1; done
SCRIPT
stopped() { # SHELL HOW: what is left after SIGTERM to the group of `SHELL deploy.sh | HOW`
    rm -f "$work/lock" "$work/log"
    (cd "$work" && exec setsid "$1" -c "$1 deploy.sh | $2" >/dev/null 2>&1) &
    until grep -qs ready "$work/log"; do sleep 0.05; done
    kill -TERM -- "-$!"
    wait "$!" 2>/dev/null || true
    sleep 1.5
    echo "$1, $2: lock $([ -e "$work/lock" ] && echo "left" || echo removed), log: $(tr '\n' ' ' <"$work/log")"
}
got=$(for shell in bash dash; do
    stopped "$shell" "tee log"
    stopped "$shell" "(trap '' TERM; exec tee log)"
done 2>/dev/null)
echo "$got"
[ "$got" = "bash, tee log: lock left, log: ready 
bash, (trap '' TERM; exec tee log): lock removed, log: ready cleaning up cleaned up 
dash, tee log: lock left, log: ready 
dash, (trap '' TERM; exec tee log): lock removed, log: ready cleaning up cleaned up " ] ||
    { echo "changed: another end of the pipeline"; exit 1; }
