"""Runs the step runner as on a system without subreapers, pidfds and control groups: `portable.py ARGUMENT...`."""

from gracefulexitcmd.posix import cgroup, process_table, subreaper

subreaper.become = lambda: False
process_table.portable = True
cgroup.make = lambda name: None

from step_runner.__main__ import main

main()
