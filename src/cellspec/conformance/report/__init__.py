"""The result of a conformance run: as text, JSON and pages."""
