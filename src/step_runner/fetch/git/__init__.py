"""Fetches functions from git repositories."""
