"""Makes the program as one file that needs no Python."""
