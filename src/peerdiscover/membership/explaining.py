"""What a set says of itself: one text, for people.

Each line is put together from what judging keeps anyway; nothing is decided here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from peerdiscover.answers import Answer
from peerdiscover.names import ServiceName
from peerdiscover.peers import Identity, Peer

from .health import FailureRecord, Health
from .reconciler import Reconciler
from .status import Status

__all__ = ["AnswerRecord", "brief_reason_of", "counted", "explain", "inconclusive_reason", "reason_of"]


@dataclass(frozen=True, slots=True, eq=False)
class AnswerRecord:
    """One answer, without its endpoints."""

    at: float
    answer: Answer
    endpoints: int
    seconds: float


def explain(
    service: ServiceName,
    judge: Reconciler,
    health: Health,
    identity: Identity,
    heard: Iterable[AnswerRecord],
    last: Answer | None,
    status: Status,
    now: float,
    *,
    watched: bool,
) -> str:
    """The text of `Discovery.explain`. `watched`: nothing is asked."""
    lines = [_head(service, judge, status)]
    lines += ["", "Peers:"] + ([_peer_line(peer, judge, health, now) for peer in judge.peers] or ["  nobody"])
    lines += _self_line(judge, identity)
    lines += [f"  own zone: {judge.zone}"] if judge.zone else []
    if judge.recently_removed:
        lines += ["", "Gone lately:"]
        lines += [
            f"  {_name(peer)}: {why}, {_ago(now - at)}" for at, peer, why in reversed(judge.recently_removed)
        ]
    if last is not None and last.dropped:
        lines += ["", "Not believed in the last answer:", *(f"  {line}" for line in last.dropped)]
    if last is not None and last.warnings:
        lines += ["", "Warnings:", *(f"  {line}" for line in last.warnings)]
    newest_first = list(reversed(list(heard)))
    answers = [_heard_line(h, now, whole=h is newest_first[0]) for h in newest_first]
    lines += ["", "Last answers:", *(answers or ["  none yet"])]
    if status.error is not None and (last is None or last.is_evidence):
        lines += ["", f"No answer now: {status.error}"]
    if status.watch_error is not None:
        lines += ["", f"The watch is down, and is done without: {status.watch_error}"]
    lines += [
        "",
        f"Next question: {_next(status)}" + (": the source tells of changes itself" if watched else ""),
    ]
    return "\n".join(lines)


def counted(n: int, what: str) -> str:
    """`1 peer`, `2 peers`."""
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def reason_of(answer: Answer) -> str:
    """Why an answer failed. It may have lines that say what to do, such as a Role to apply."""
    return "no reason was given" if answer.error is None else str(answer.error)


def brief_reason_of(answer: Answer) -> str:
    """The same in one line, for the log and for whatever says it more than once."""
    return reason_of(answer).partition("\n")[0]


def inconclusive_reason(answer: Answer) -> str:
    """Why "nobody" from one family says nothing."""
    families = " and ".join(f"IPv{family}" for family in sorted(answer.failed_families))
    return f"{families} could not be asked, and nobody is known to be anywhere else"


def _head(service: ServiceName, judge: Reconciler, status: Status) -> str:
    pods = counted(len(judge.peers), "peer")
    age = "never confirmed" if math.isinf(status.age) else f"confirmed {_ago(status.age)}"
    stale = ", stale" if status.stale else ""
    return f"{service}: {judge.peers.kind}, {pods}, generation {judge.peers.generation}, {age}{stale}"


def _name(peer: Peer) -> str:
    where = peer.hostport if len(peer.addresses) == 1 else f"{peer.hostport} ({', '.join(peer.addresses)})"
    return where if peer.key == peer.hostport else f"{peer.key} at {where}"


def _peer_line(peer: Peer, judge: Reconciler, health: Health, now: float) -> str:
    also = ", ".join(text for text in ("self" if peer.is_self else None, peer.zone) if text)
    held = judge.suspects.get(peer.key)
    if held is not None:
        why = f"held: missing from {counted(held.answers, 'answer')}, first {_ago(now - held.since)}"
        if held.confirmable_at is not None:
            left = max(0.0, held.confirmable_at - now)
            why += f"; goes when a complete answer in {left:.1f} s or later agrees"
    elif peer.key in judge.doubts:
        doubt = judge.doubts[peer.key]
        why = f"in: missing from {counted(doubt.answers, 'partial answer')}"
        if doubt.log_chance:
            why += f", by chance with probability {math.exp(doubt.log_chance):.1g}"
    else:
        why = "in: the last answers have it"
    why += _health(health.failure_records.get(peer), now)
    return f"  {_name(peer)}{f' ({also})' if also else ''}: {why}"


def _health(ailment: FailureRecord | None, now: float) -> str:
    if ailment is None:
        return ""
    failed = f"{counted(ailment.failures, 'failure')} in a row" + (
        f", last {ailment.why}" if ailment.why else ""
    )
    left = max(0.0, ailment.until - now)
    if ailment.ejected:
        return f"; ejected for {left:.1f} s more ({failed})"
    return f"; on trial for {left:.1f} s more ({failed})" if ailment.half_open else f"; {failed}"


def _self_line(judge: Reconciler, identity: Identity) -> list[str]:
    if judge.peers.me is not None or not judge.peers:
        return []
    compared = [f"hostname {identity.name}"] if identity.name else []
    compared += [f"address {address}" for address in identity.addresses]
    return [f"  none of them is oneself; compared: {', '.join(compared) or 'nothing is known of oneself'}"]


def _heard_line(h: AnswerRecord, now: float, *, whole: bool) -> str:
    a = h.answer
    text = f"  {_ago(now - h.at)}: {a.outcome}"
    if h.endpoints:
        text += f", {counted(h.endpoints, 'endpoint')}"
    if a.ttl is not None:
        text += ", for good" if math.isinf(a.ttl) else f", TTL {a.ttl:g} s"
    if a.servers:
        text += f", from {', '.join(a.servers)}"
    text += f", in {h.seconds * 1000:.1f} ms"
    if a.failed_families:
        text += f", no answer for {' and '.join(f'IPv{f}' for f in sorted(a.failed_families))}"
    if a.error is not None:
        text += f": {reason_of(a) if whole else brief_reason_of(a)}"
    return text


def _next(status: Status) -> str:
    if math.isinf(status.next_refresh):
        return "none is due"
    return "now" if status.next_refresh == 0 else f"in {status.next_refresh:.1f} s"


def _ago(seconds: float) -> str:
    return f"{max(0.0, seconds):.1f} s ago"
