"""Copies this program to another place, as one file that needs nothing but Python."""
