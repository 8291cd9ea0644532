"""Labelled synthetic schemas, and how well discovery does on them: `python -m tests.discovery`."""
