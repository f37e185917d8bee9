"""Fetches functions to this machine, each of them once."""
