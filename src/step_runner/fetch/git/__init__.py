"""Functions from git repositories."""
