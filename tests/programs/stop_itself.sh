# Stops itself; after SIGCONT its trap runs.
trap 'echo trapped; exit 0' TERM
echo ready >&2
kill -STOP $$
while :; do sleep 0.01; done
