"""Functions written in Python: those of the step runner, and those that installed packages offer."""
