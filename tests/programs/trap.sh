# Says "trapped" at SIGTERM and exits with the status that is given.
# The child may not be `sleep` yet when SIGTERM comes, and then survives it.
trap 'echo trapped; kill -KILL "$child" 2>/dev/null; exit "$1"' TERM
sleep 1000 &
child=$!
echo ready >&2
wait
