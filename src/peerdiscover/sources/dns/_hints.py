"""Hints: why a name may not exist, and what to ask to find out. Pure.

Invariants:

* There are at most three questions, and it does not matter if they fail.
* A hint is one sentence, a fact that a server reported. It is no answer.
"""

from __future__ import annotations

from collections.abc import Iterable

from ._records import LookupConfig
from ._types import Question, RecordType, Reply, ReplyStatus

__all__ = ["hint", "hint_questions"]


def hint_questions(config: LookupConfig) -> list[Question]:
    """What may explain it: the same Service in the local namespace or in `default`, or its other ports."""
    service = config.service
    found = dict[Question, None]()
    if isinstance(service.port, str):
        found[Question(config.name, RecordType.SRV)] = None
    if not service.is_external:
        for namespace in (config.local_namespace, "default"):
            name = f"{service.service}.{namespace}.svc.{service.domain or config.cluster_domain}."
            if namespace and name != config.name:
                found[Question(name, RecordType.AAAA if config.preferred == 6 else RecordType.A)] = None
    return list(found)


def hint(config: LookupConfig, replies: Iterable[Reply]) -> str:
    """The first explanation among the replies; "" if there is none."""
    for reply in replies:
        name = reply.question.name
        if name == config.name and reply.status is ReplyStatus.ANSWER:
            ports = ", ".join(map(str, sorted({record.port for record in reply.services})))
            return f"the service exists, but has no port {config.service.port!r}; it has {ports}"
        # NODATA proves that the Service exists, as addresses do.
        if name != config.name and reply.status in (ReplyStatus.ANSWER, ReplyStatus.NODATA):
            return f"{name!r} exists: is the namespace right?"
    return ""
