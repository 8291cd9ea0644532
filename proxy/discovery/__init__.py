"""`pgveil discover`: samples a live database, hands the values to `policies.detect`, and reports what is sensitive.

Sampled values never leave `sample` and `scan`: what goes on from there are counts, classes, confidences and reasons.
"""
