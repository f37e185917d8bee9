"""From the text of a step file to a plan: reading, checking and finding functions."""
