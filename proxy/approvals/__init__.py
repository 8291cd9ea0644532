"""Requests to see in clear, and what comes of them: state in PostgreSQL, a watch on it, and the desk where people ask."""
