#!/usr/bin/env bash
# Guess: `git commit` in a repository that needs a clean-up does it before it returns, or not at all.
# Truth: it leaves `git gc` running: an orphan in its own session, which repacks while the next step runs.
# Versions: git 2.39.5 (Debian 12), gc.autoDetach at its default.
# Matters: a runner that ends the orphans of a step stops the repack half-way, again in every job.
#          With `git -c gc.autoDetach=false` it belongs to the step that starts it.
set -euo pipefail
work=$(mktemp -d)
trap 'wait; rm -rf "$work"' EXIT
git --version
export HOME=$work GIT_CONFIG_NOSYSTEM=1
committed() { # NAME SETTING...: commit where a clean-up is due, and say what is left afterwards
    name=$1; shift
    git init --quiet "$work/$name"
    cd "$work/$name"
    git config user.email ada@example.org; git config user.name Ada; git config gc.auto 5
    seq 1500 | split --lines=1 --suffix-length=4 - file-
    git add .
    git "$@" commit --quiet --message made 2>/dev/null
    left=$(ps -eo pid=,sid=,args= | awk '/[g]it gc --auto/ {print $1, ($1 == $2 ? "in a session of its own" : "in ours")}')
    echo "$name: ${left:+git gc is left, ${left#* }}${left:-nothing is left}" | sed "s/${left:-none}\$//"
    while [ -n "$left" ] && [ -e "/proc/${left%% *}" ]; do sleep 0.2; done
}
got=$(committed default -c gc.autoDetach=true; committed attached -c gc.autoDetach=false)
echo "$got"
[ "$got" = "default: git gc is left, in a session of its own
attached: nothing is left" ] || { echo "changed: another end of the clean-up"; exit 1; }
