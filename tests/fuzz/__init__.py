"""Fuzzing: what any client and any server may send, and whether pgveil's answers stay those of PostgreSQL. See `__main__`."""
