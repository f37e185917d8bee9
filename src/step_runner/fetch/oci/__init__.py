"""Fetches functions from image registries."""
