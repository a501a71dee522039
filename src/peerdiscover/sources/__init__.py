"""Sources: where answers come from. `source_for` finds the one that a name and an argument mean.

Rules of this room:

* A name's scheme and the source given must not disagree. A name without a scheme is no more than a
  label where the source needs none.
* Nothing is imported before it is used: a program with a fixed list never loads DNS.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from peerdiscover.answers import Source
from peerdiscover.errors import ConfigurationError
from peerdiscover.names import ServiceName, parse_static

if TYPE_CHECKING:
    from .called import Called
    from .dns import DNS
    from .static import Static

__all__ = ["DNS", "Called", "Static", "source_for"]


_ROOMS = {"DNS": "dns", "Static": "static", "Called": "called"}


def __getattr__(name: str) -> object:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_ROOMS[name]}", __name__), name)


def source_for(service: ServiceName, source: object = None) -> Source:
    """The source for a name: the one its scheme means, or `source`, a source or a callable.

    `ConfigurationError` where the scheme disagrees with `source`, or `source` is none.
    """
    kind = getattr(source, "kind", None)
    scheme = _written_scheme(service)
    if source is None:
        if service.scheme == "static":
            from .static import Static

            return Static(parse_static(service.service, str(service)))
        from .dns import DNS

        return DNS()
    if isinstance(source, type):
        raise ConfigurationError(f"source={source.__name__}: a class; write {source.__name__}(…)")
    if scheme is not None and (kind != scheme or service.scheme == "static"):
        raise ConfigurationError(
            f"{str(service)!r} says where its pods come from ({scheme}:), and so does source={source!r}: "
            "give one of them"
        )
    if callable(getattr(source, "lookup", None)) or callable(getattr(source, "watch", None)):
        return source  # type: ignore[return-value]  # found out in the line above
    if callable(source):
        from .called import Called

        return Called(source)
    raise ConfigurationError(
        f"source={source!r}: a source has `lookup` or `watch`; a callable that returns addresses will do, too"
    )


def _written_scheme(service: ServiceName) -> str | None:
    """The scheme that the text itself has; None where it has none."""
    text = str(service)
    return (
        service.scheme if text.startswith(f"{service.scheme}:") and not _is_service_called_so(text) else None
    )


def _is_service_called_so(text: str) -> bool:
    """`dns:8080` is a Service of the name dns, and its port."""
    return text.partition(":")[2].isdigit()
