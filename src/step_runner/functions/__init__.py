"""From the text of a step file to a plan: reads, checks and finds functions."""
