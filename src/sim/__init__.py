"""The simulator of cellspec and its command line."""
