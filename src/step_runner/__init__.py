"""Runs GitLab CI functions step by step and ends them gracefully."""

__version__ = "0.1.0"
