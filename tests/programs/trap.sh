# Writes "trapped" at SIGTERM and exits with the status in its argument.
# The child may get SIGTERM before it executes `sleep`, and then survives it: kill it with SIGKILL.
trap 'echo trapped; kill -KILL "$child" 2>/dev/null; exit "$1"' TERM
sleep 1000 &
child=$!
echo ready >&2
wait
