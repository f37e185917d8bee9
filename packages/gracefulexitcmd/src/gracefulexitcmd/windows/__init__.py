"""How commands run and end on Windows: a Job Object holds them, CTRL_BREAK asks them to stop."""
