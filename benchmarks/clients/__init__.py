"""Packages written for e3nn, run on e3nn and on tesseral in its place: the same numbers, and the time.

    python -m benchmarks.clients [--only mace] [--quick] [--threads 2]

Each client lives in an environment of its own, whose interpreter an environment variable names (see `table.py`); both sides run
there, from the same unchanged code.
"""
