#!/usr/bin/env bash
# Guess: `git commit` that finds its repository due for a clean-up does it before it returns, or leaves it.
# Truth: it leaves `git gc` behind: an orphan in a session of its own that repacks while the next step runs.
# Versions: git 2.39.5 (Debian 12), gc.autoDetach at its default.
# Matters: a runner that ends what a step leaves ends the repack half-way, in every job anew.
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
