# Ends at SIGTERM; its child ignores SIGTERM.
(trap '' TERM; echo ready >&2; exec sleep 1000) &
wait
