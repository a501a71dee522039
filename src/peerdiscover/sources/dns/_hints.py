"""Why a name may not be there: what to ask for a hint, and what it is. Pure.

Rules of this room:

* At most three questions, and what goes wrong with them is nobody's trouble.
* A hint is a fact that a server told, as one sentence; it is no answer.
"""

from __future__ import annotations

from collections.abc import Iterable

from ._records import LookupConfig
from ._types import Question, RecordType, Reply, ReplyStatus

__all__ = ["hint", "questions"]


def questions(setting: LookupConfig) -> list[Question]:
    """What would explain it: the same Service in the own namespace or in `default`, or its other ports."""
    service = setting.service
    found = dict[Question, None]()
    if isinstance(service.port, str):
        found[Question(setting.name, RecordType.SRV)] = None
    if not service.is_external:
        for namespace in (setting.own_namespace, "default"):
            name = f"{service.service}.{namespace}.svc.{service.domain or setting.cluster_domain}."
            if namespace and name != setting.name:
                found[Question(name, RecordType.AAAA if setting.preferred == 6 else RecordType.A)] = None
    return list(found)


def hint(setting: LookupConfig, replies: Iterable[Reply]) -> str:
    """The first explanation among the replies, or ""."""
    for reply in replies:
        name = reply.question.name
        if name == setting.name and reply.status is ReplyStatus.ANSWER:
            ports = ", ".join(map(str, sorted({record.port for record in reply.services})))
            return f"the service is there, its port {setting.service.port!r} is not; it has {ports}"
        # No addresses of this family proves a Service as well as addresses do.
        if name != setting.name and reply.status in (ReplyStatus.ANSWER, ReplyStatus.NODATA):
            return f"{name!r} exists: is the namespace right?"
    return ""
