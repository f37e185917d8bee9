"""Gives hypothesis no deadline: the time of one example depends on the machine."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("unhurried", settings(), deadline=None)
settings.load_profile("unhurried")
