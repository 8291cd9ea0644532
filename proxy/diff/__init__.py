"""`pgveil diff`: what changes between two versions of a policy, for whom."""
