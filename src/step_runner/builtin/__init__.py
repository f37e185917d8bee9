"""Functions written in Python: those that come with the step runner, and those that installed packages offer."""
