# Dies of SIGTERM; its child ignores that.
(trap '' TERM; echo ready >&2; exec sleep 1000) &
wait
