"""Hints: why a name may not exist, and what to ask to find out. Pure.

Invariants:

* There are at most five questions, asked at the same time, and it does not matter if they fail.
* A hint is one sentence, a fact that a server or resolv.conf reported. It is no answer.
"""

from __future__ import annotations

from collections.abc import Iterable

from ._answer_builder import LookupConfig, alias_hint
from ._types import ADDRESS_TYPES, Question, RecordType, Reply, ReplyStatus


def hint_questions(config: LookupConfig) -> list[Question]:
    """What may explain it: other ports, no SRV at all, another namespace, or a name outside the cluster."""
    service = config.service
    address = ADDRESS_TYPES[config.families[0]]
    found = dict[Question, None]()
    if isinstance(service.port, str):
        found[Question(config.name, RecordType.SRV)] = None
        found[Question(config.name, address)] = None
    if not service.is_external:
        for namespace in (config.local_namespace, "default"):
            name = f"{service.service}.{namespace}.svc.{service.domain or config.cluster_domain}."
            if namespace and name != config.name:
                found[Question(name, address)] = None
        # A namespace that is known to be one is no domain: nothing of the cluster is asked for outside.
        if service.namespace not in (None, config.local_namespace) and not service.domain:
            found[Question(_outside(config), address)] = None
    return list(found)


def hint(config: LookupConfig, replies: Iterable[Reply]) -> str:
    """The first explanation among the replies; "" if there is none."""
    service = config.service
    for reply in replies:
        name, is_answer = reply.question.name, reply.status is ReplyStatus.ANSWER
        if name == config.name and reply.question.kind is RecordType.SRV and is_answer:
            ports = ", ".join(map(str, sorted({record.port for record in reply.services})))
            return f"the service exists, but has no port {service.port!r}; it has {ports}"
        if name == config.name and is_answer:
            return f"{name} exists, but has no SRV records for {service.port!r}: write the port's number"
        if name == config.name and (alias := alias_hint(reply)):
            return alias
        if name == _outside(config) and is_answer and not service.is_external:
            return f"{name!r} exists: a name outside the cluster ends in a dot"
        # NODATA proves that the Service exists, as addresses do.
        if name not in (config.name, _outside(config)) and (is_answer or reply.status is ReplyStatus.NODATA):
            return f"{name!r} exists: is the namespace right?"
    if config.asks_elsewhere and not service.is_external:
        return "resolv.conf has no search entry svc.…: is this machine in the cluster?"
    return ""


def _outside(config: LookupConfig) -> str:
    """The name as it was written, taken for one outside of the cluster: `db.internal` → `db.internal.`."""
    return f"{config.service.service}.{config.service.namespace}."
