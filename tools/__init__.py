"""Makes the documentation, and checks its language."""
