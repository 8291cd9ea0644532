"""Real clients, each run side by side: against PostgreSQL itself and through pgveil; what they print must be the same.

Two comparisons: a login that sees everything, direct and proxied; and a login with masked columns, proxied, with direct
on a physically masked copy of the data. Raw and masked data are in two clusters made by the same script, so that names,
OIDs and physical order agree.
"""
