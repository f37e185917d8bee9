# At SIGTERM it starts a child that ignores SIGTERM, and exits.
trap '(trap "" TERM; exec sleep 1000) & exit 3' TERM
sleep 1000 &
echo ready >&2
wait
