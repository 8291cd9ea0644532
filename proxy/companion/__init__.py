"""The companion schema of keyed masks: its SQL, and `pgveil install`, which puts it and the keys into a database."""
