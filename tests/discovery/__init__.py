"""The two shells, resolving once, and what becomes of them in processes."""
