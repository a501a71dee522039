"""Figures, run by hand: `python -m tests.bench`; on a real control plane, `python -m tests.bench.cluster`.

No test: what is slow here today may be another program's doing.
"""
