"""PostgreSQL's own regression files through pgveil: `python -m tests.regress`."""
