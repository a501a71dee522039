"""The two kinds of Discovery, resolving once, and what becomes of them in processes."""
