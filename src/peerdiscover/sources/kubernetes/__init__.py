"""Pods from the EndpointSlices of the API server. `_source` is where to begin; `_reflector` decides."""

from __future__ import annotations

from ._source import Kubernetes

__all__ = ["Kubernetes"]
