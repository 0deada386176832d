"""``python -m cellspec.trace`` prints the JSON Schema of a trace's lines."""

import sys

from cellspec.trace.schema import schema_text

sys.stdout.write(schema_text())
