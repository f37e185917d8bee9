"""Runs a plan: one function after another, each in its context."""
