"""Sources: where answers come from. `source_for` finds the one that a name and an argument mean.

Rules of this room:

* A name's scheme and the source given must not disagree. A name without a scheme is no more than a
  label where the source needs none.
* Nothing is imported before it is used: a program with a fixed list never loads DNS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from peerdiscover._exports import lazy
from peerdiscover.answers import Source
from peerdiscover.errors import ConfigurationError
from peerdiscover.names import ServiceName, parse_static

if TYPE_CHECKING:
    from .dns import DNS
    from .fallback import Fallback
    from .function import FunctionSource, as_source
    from .kubernetes import Kubernetes
    from .static import Static

__all__ = ["DNS", "Fallback", "FunctionSource", "Kubernetes", "Static", "as_source", "source_for"]

_KIND_OF = {"auto": "fallback"}
"""The kind of source that a scheme means, where it is not the scheme itself."""


__getattr__, __dir__ = lazy(
    __name__,
    {
        "dns": ("DNS",),
        "fallback": ("Fallback",),
        "function": ("FunctionSource", "as_source"),
        "kubernetes": ("Kubernetes",),
        "static": ("Static",),
    },
)


def source_for(service: ServiceName, source: object = None) -> Source:
    """The source for a name: the one its scheme means, or `source`, a source or a callable.

    `ConfigurationError` where the scheme disagrees with `source`, or `source` is none.
    """
    kind = getattr(source, "kind", None)
    scheme = _written_scheme(service)
    if source is None:
        return _meant_by(service)
    if scheme is not None and (kind != _KIND_OF.get(scheme, scheme) or service.scheme == "static"):
        raise ConfigurationError(
            f"{str(service)!r} says where its pods come from ({scheme}:), and so does source={source!r}: "
            "give one of them"
        )
    from .function import as_source

    return as_source(source)


def _meant_by(service: ServiceName) -> Source:
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
    """The scheme that the text itself has; None where it has none."""
    text = str(service)
    return (
        service.scheme if text.startswith(f"{service.scheme}:") and not _is_service_called_so(text) else None
    )


def _is_service_called_so(text: str) -> bool:
    """`dns:8080` is a Service of the name dns, and its port."""
    return text.partition(":")[2].isdigit()
