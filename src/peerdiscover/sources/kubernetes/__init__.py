"""Pods from the EndpointSlices of the API server. `_source` says which module does which part."""

from __future__ import annotations

from ._source import Kubernetes

__all__ = ["Kubernetes"]
