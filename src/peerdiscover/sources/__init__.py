"""Sources: where answers come from. `source_for` finds the one that a name and an argument mean.

Invariants:

* A name's scheme and the `source=` argument must not disagree. Without a scheme the name is only a label
  for sources that need no name.
* Nothing is imported before it is used: a program with a fixed list never loads DNS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from peerdiscover._exports import lazy
from peerdiscover._host_ports import parse_static
from peerdiscover._text import quoted
from peerdiscover.answers import Source
from peerdiscover.errors import ConfigurationError
from peerdiscover.names import ServiceName

if TYPE_CHECKING:
    from .dns import DNS
    from .fallback import Fallback
    from .function import AddressLike, FunctionSource, SourceLike, as_source
    from .kubernetes import Kubernetes
    from .static import Static

__all__ = [
    "DNS",
    "AddressLike",
    "Fallback",
    "FunctionSource",
    "Kubernetes",
    "SourceLike",
    "Static",
    "as_source",
    "source_for",
]

_KIND_OF = {"auto": "fallback"}
"""The kind of source that a scheme means, if it is not the scheme itself."""


__getattr__, __dir__ = lazy(
    __name__,
    {
        "dns": ("DNS",),
        "fallback": ("Fallback",),
        "function": ("AddressLike", "FunctionSource", "SourceLike", "as_source"),
        "kubernetes": ("Kubernetes",),
        "static": ("Static",),
    },
)


def source_for(service: ServiceName, source: SourceLike | None = None) -> Source:
    """The source for a name: the one that its scheme means, or `source`, a source or a callable.

    Raises `ConfigurationError` if the scheme disagrees with `source`, or if `source` is no source.
    """
    kind = getattr(source, "kind", None)
    scheme = _written_scheme(service)
    if source is None:
        return _from_scheme(service)
    if scheme is not None and (kind != _KIND_OF.get(scheme, scheme) or service.scheme == "static"):
        raise ConfigurationError(
            f"{quoted(str(service))} says where its pods come from ({scheme}:), and so does "
            f"source={quoted(source)}: give only one of the two"
        )
    from .function import as_source

    return as_source(source)


def _from_scheme(service: ServiceName) -> Source:
    if service.scheme == "static":
        from .static import Static

        return Static(parse_static(service.service, str(service)))
    if service.scheme == "k8s":
        from .kubernetes import Kubernetes

        return Kubernetes()
    from .dns import DNS

    if service.scheme == "auto":
        from .fallback import Fallback
        from .kubernetes import Kubernetes

        return Fallback(Kubernetes(), DNS())
    return DNS()


def _written_scheme(service: ServiceName) -> str | None:
    """The scheme that is written in the name; None if it has none."""
    written, _, rest = str(service).partition(":")
    # `dns:8080` is a Service whose name is dns, and its port.
    return service.scheme if written == service.scheme and not rest.isdigit() else None
