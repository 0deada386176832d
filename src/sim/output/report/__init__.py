"""Reports: the pages of a run and of a sweep, and the same figures as PNG or SVG files."""
