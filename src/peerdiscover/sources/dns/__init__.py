"""Pods from DNS. `_source` says what is asked, and which module does which part."""

from __future__ import annotations

from ._source import DNS

__all__ = ["DNS"]
