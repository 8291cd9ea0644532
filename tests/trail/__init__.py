"""Trails of a made-up bank, of any length, as pgveil's own writer writes them: to test and measure what reads trails."""
