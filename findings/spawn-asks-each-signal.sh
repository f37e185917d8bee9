#!/usr/bin/env bash
# Guess: posix_spawn(3) sets the actions of the signals that its caller names, and leaves the others to execve(2).
# Truth: the child makes two system calls for each other signal as well: it asks for the action, and then sets the default one
#        even where it is the default. For a signal that POSIX_SPAWN_SETSIGDEF names it makes one.
# Versions: glibc 2.36, Python 3.11.7, strace 6.1.
# Matters: The parent waits for the child's exec. A start that names every signal which is not ignored makes half as many
#          calls: 15 of 120 microseconds, on a machine with 2 cores.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$work" && apt-get -qq download strace=6.1-0.1 libunwind8=1.6.2-3 2>/dev/null && for package in *.deb; do dpkg -x "$package" .; done)
export LD_LIBRARY_PATH=$work/usr/lib/$(uname -m)-linux-gnu
ldd --version | sed -n 1p
python3 --version
"$work/usr/bin/strace" --version | sed -n 1p
calls() { # EXPRESSION: the signals to reset; print how often the child calls sigaction(2) before its exec
    "$work/usr/bin/strace" -f -qq -e trace=rt_sigaction,execve -o "$work/trace" python3 -c "
import os, signal
os.waitpid(os.posix_spawn('/bin/true', ['true'], {}, setsigdef=$1), 0)"
    child=$(awk '/execve\("\/bin\/true"/ { print $1 }' "$work/trace")
    awk -v child="$child" '$1 == child && /execve/ { exit } $1 == child { n++ } END { print n }' "$work/trace"
}
few=$(calls "[]")
all=$(calls "signal.valid_signals()")
echo "calls in the child: $few without a name, $all with all of them"
[ "$few" -ge 110 ] && [ "$all" -le 70 ] || { echo "changed: other calls"; exit 1; }
