"""What a set says about itself, in words.

Each line is put together from what the other modules keep anyway; nothing is decided here.
"""

from __future__ import annotations

import math

from peerdiscover._text import counted, printable
from peerdiscover.identity import Identity
from peerdiscover.peers import Peer

from .health import FailureRecord, Health
from .journal import AnswerRecord, Journal, brief_reason_of, reason_of
from .reconciler import Reconciler
from .status import Status

_MAX_LINE = 1000


def explain(
    reconciler: Reconciler,
    health: Health,
    identity: Identity,
    journal: Journal,
    status: Status,
    now: float,
    watched: bool,
) -> str:
    """The text of `Discovery.explain`. `watched`: a watch delivers the answers."""
    last = journal.last
    lowest = min((peer.priority for peer in reconciler.peers), default=0)
    newest = journal.recent_answers[-1] if journal.recent_answers else None
    sections = {
        "Peers": [
            *([_peer_line(peer, reconciler, health, now, lowest) for peer in reconciler.peers] or ["none"]),
            *_self_line(reconciler, identity),
            *([f"zone of this pod: {printable(reconciler.zone)}"] if reconciler.zone else []),
        ],
        "Recently removed": [
            f"{_name(peer)}: {why}, {_ago(now - at)}"
            for at, peer, why in reversed(reconciler.recently_removed)
        ],
        "Dropped from the last answer": [printable(line, _MAX_LINE) for line in last.dropped] if last else [],
        "Warnings": [printable(line, _MAX_LINE) for line in last.warnings] if last else [],
        "Last answers": [
            _answer_line(record, now, whole=record is newest) for record in reversed(journal.recent_answers)
        ]
        or ["none yet"],
    }
    lines = [_head(reconciler, status)]
    for title, entries in sections.items():
        if entries:
            lines += ["", f"{title}:", *(f"  {entry}" for entry in entries)]
    if status.error is not None and (last is None or last.is_evidence):
        lines += ["", f"No answer now: {status.error}"]
    if status.watch_error is not None:
        lines += ["", f"Watch failed, falling back to {journal.fallback}: {status.watch_error}"]
    lines += ["", f"Next lookup: {_next(status)}" + (": the source reports changes" if watched else "")]
    # A reason may have lines that say what to do: indented, so that none of them looks like a line of ours.
    return "\n".join(
        printable(line, _MAX_LINE) for text in lines for line in text.replace("\n", "\n    ").split("\n")
    )


def _head(reconciler: Reconciler, status: Status) -> str:
    peers = reconciler.peers
    age = "never confirmed" if math.isinf(status.age) else f"confirmed {_ago(status.age)}"
    stale = ", stale" if status.stale else ""
    size = counted(len(peers), "peer")
    return f"{peers.service}: {peers.kind}, {size}, generation {peers.generation}, {age}{stale}"


def _name(peer: Peer) -> str:
    where = peer.hostport if len(peer.addresses) == 1 else f"{peer.hostport} ({', '.join(peer.addresses)})"
    return where if peer.key == peer.hostport else f"{printable(peer.key)} at {where}"


def _peer_line(peer: Peer, reconciler: Reconciler, health: Health, now: float, lowest: int) -> str:
    backup = f"backup, priority {peer.priority}" if peer.priority > lowest else ""
    also = ", ".join(filter(None, ("self" if peer.is_self else "", printable(peer.zone or ""), backup)))
    held = reconciler.suspects.get(peer.key)
    if held is not None:
        why = f"held: missing from {counted(held.answers, 'answer')}, first {_ago(now - held.since)}"
        if held.confirmable_at is not None:
            left = max(0.0, held.confirmable_at - now)
            why += f"; removed if a complete answer in {left:.1f} s or later agrees"
    elif peer.key in reconciler.doubts:
        doubt = reconciler.doubts[peer.key]
        why = f"in: missing from {counted(doubt.answers, 'partial answer')}"
        if doubt.log_chance:
            why += f", by chance with probability {math.exp(doubt.log_chance):.1g}"
    else:
        why = "in: the last answers have it"
    why += _health(health.failure_records.get(peer), now)
    return f"{_name(peer)}{f' ({also})' if also else ''}: {why}"


def _health(record: FailureRecord | None, now: float) -> str:
    if record is None:
        return ""
    failed = f"{counted(record.failures, 'failure')} in a row" + (
        f", last {record.why}" if record.why else ""
    )
    left = max(0.0, record.until - now)
    if record.ejected:
        return f"; ejected for {left:.1f} s more ({failed})"
    return f"; half-open for {left:.1f} s more ({failed})" if record.half_open else f"; {failed}"


def _self_line(reconciler: Reconciler, identity: Identity) -> list[str]:
    if reconciler.peers.me is not None or not reconciler.peers:
        return []
    compared = [f"hostname {identity.name}"] if identity.name else []
    compared += [f"address {address}" for address in identity.addresses]
    known = ", ".join(compared) or "neither its hostname nor its address is known"
    return [f"none of them is this pod; compared: {known}"]


def _answer_line(record: AnswerRecord, now: float, *, whole: bool) -> str:
    answer = record.answer
    text = f"{_ago(now - record.at)}: {answer.outcome}"
    if record.endpoints:
        text += f", {counted(record.endpoints, 'endpoint')}"
    if answer.ttl is not None:
        text += ", no TTL" if math.isinf(answer.ttl) else f", TTL {answer.ttl:g} s"
    if answer.servers:
        text += f", from {', '.join(map(printable, answer.servers))}"
    text += f", in {record.duration * 1000:.1f} ms"
    if answer.failed_families:
        text += f", no answer for {' and '.join(f'IPv{f}' for f in sorted(answer.failed_families))}"
    if answer.error is not None:
        text += f": {reason_of(answer) if whole else brief_reason_of(answer)}"
    return text


def _next(status: Status) -> str:
    if math.isinf(status.next_refresh):
        return "none is due"
    return "now" if status.next_refresh == 0 else f"in {status.next_refresh:.1f} s"


def _ago(seconds: float) -> str:
    return f"{max(0.0, seconds):.1f} s ago"
