"""What makes the documentation, and what checks its language."""
