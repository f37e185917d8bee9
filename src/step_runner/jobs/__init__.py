"""Jobs by id, each one's life from request to removal, and its log."""
