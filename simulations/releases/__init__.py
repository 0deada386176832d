"""The release matrix: which release of an engine keeps which clause."""
