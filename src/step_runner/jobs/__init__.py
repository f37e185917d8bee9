"""Jobs by id: the life of each job from its request to its removal, and its log."""
