"""Copies of the trail elsewhere: a PostgreSQL table, syslog. Run by the auditor process, never on the way of a statement."""
