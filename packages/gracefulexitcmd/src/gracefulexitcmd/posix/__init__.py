"""Runs and ends commands on POSIX systems by signals to their process groups; on Linux no descendant can hide."""
