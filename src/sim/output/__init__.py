"""The words of the commands: each result as text, and as JSON for programs."""
