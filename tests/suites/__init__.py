"""The drivers' own test suites, run direct, through PgBouncer and through pgveil, and compared test by test."""
