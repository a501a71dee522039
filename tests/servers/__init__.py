"""Real DNS servers on loopback, started and ended by the tests."""

from ._programs import in_ci, require

__all__ = ["in_ci", "require"]
