"""Figures, run by hand: `python -m tests.bench`.

No test: what is slow here today may be another program's doing.
"""
