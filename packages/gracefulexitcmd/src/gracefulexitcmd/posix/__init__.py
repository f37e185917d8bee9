"""How commands run and end on POSIX systems: in process groups, which get signals; on Linux nobody can hide."""
