"""Pods from DNS. `_source` is where to begin, `_lookup` says what is asked, `_exchange` of whom."""

from __future__ import annotations

from ._source import DNS

__all__ = ["DNS"]
