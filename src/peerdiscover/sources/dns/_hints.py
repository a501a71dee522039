"""Why a name may not be there: what to ask for a hint, and what it is. Pure.

Rules of this room:

* At most three questions, and what goes wrong with them is nobody's trouble.
* A hint is a fact that a server told, as one sentence; it is no answer.
"""

from __future__ import annotations

from collections.abc import Iterable

from ._records import LookupConfig
from ._types import Question, RecordType, Reply, ReplyStatus

__all__ = ["hint", "hint_questions"]


def hint_questions(config: LookupConfig) -> list[Question]:
    """What would explain it: the same Service in the own namespace or in `default`, or its other ports."""
    service = config.service
    found = dict[Question, None]()
    if isinstance(service.port, str):
        found[Question(config.name, RecordType.SRV)] = None
    if not service.is_external:
        for namespace in (config.own_namespace, "default"):
            name = f"{service.service}.{namespace}.svc.{service.domain or config.cluster_domain}."
            if namespace and name != config.name:
                found[Question(name, RecordType.AAAA if config.preferred == 6 else RecordType.A)] = None
    return list(found)


def hint(config: LookupConfig, replies: Iterable[Reply]) -> str:
    """The first explanation among the replies, or ""."""
    for reply in replies:
        name = reply.question.name
        if name == config.name and reply.status is ReplyStatus.ANSWER:
            ports = ", ".join(map(str, sorted({record.port for record in reply.services})))
            return f"the service is there, its port {config.service.port!r} is not; it has {ports}"
        # No addresses of this family proves a Service as well as addresses do.
        if name != config.name and reply.status in (ReplyStatus.ANSWER, ReplyStatus.NODATA):
            return f"{name!r} exists: is the namespace right?"
    return ""
