"""Random statements, each answered twice: through pgveil on the raw database, directly on a masked copy of it.

    python -m tests.generate --seed 1 --count 5000                          # the mini bank
    python -m tests.generate --conformance DIR --seed 1 --count 5000        # the conformance set's bank

`schema` reads what there is from the catalog; `names`, `expressions`, `queries`, `statements` and `writes` make determinate SQL
over it; `mutate` changes the fixtures' statements; `trial` runs a case on both sides and judges; `bare` looks in the server's log
whether any text that went upstream reads a protected relation as it is; `shrink` makes a failure small. The same seed gives the
same statements.
"""
