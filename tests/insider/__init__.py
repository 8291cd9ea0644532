"""A year of a bank's traffic as an audit trail, with insiders in it: what the auditor has to find, and nothing else.

`python -m tests.insider` writes years (seeds 1 to 4, with and without insiders), replays the example's alert rules over them and
says which alerts were raised and how long it took; `--days`, `--scale` and `--seeds` make it smaller or larger.
"""
