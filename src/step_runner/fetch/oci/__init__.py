"""Functions from registries of images."""
