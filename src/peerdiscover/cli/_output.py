"""Sets and changes on stdout: as JSON, as aligned plain text, or as a table if `rich` is installed.

Invariants:

* JSON always has the same keys, and null for what is not known. There is one object a line.
* In plain text and tables, what others wrote (hostnames, zones) is escaped. JSON escapes by itself.
* A pipe gets plain text: a header line, then one line a pod. Only a terminal gets a table and colours,
  and no colours if NO_COLOR is set.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from peerdiscover._text import printable
from peerdiscover.peers import Change, Peer, PeerSet

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["change_json", "header", "lines", "set_json", "show_change", "show_set", "table", "terminal"]


def set_json(peers: PeerSet) -> str:
    """Return the JSON object that `resolve --json` prints."""
    return json.dumps(
        {
            "service": peers.service,
            "kind": peers.kind,
            "generation": peers.generation,
            "peers": [_object(peer) for peer in peers],
        }
    )


def change_json(change: Change) -> str:
    """Return the JSON object that `watch --json` prints, and that `--exec` passes on."""
    return json.dumps(
        {
            "generation": change.after.generation,
            "added": [_object(peer) for peer in change.added],
            "removed": [_object(peer) for peer in change.removed],
            "moved": [{"before": _object(old), "after": _object(new)} for old, new in change.moved],
            "peers": [_object(peer) for peer in change.after],
        }
    )


def _object(peer: Peer) -> dict[str, object]:
    return {
        "key": peer.key,
        "hostname": peer.hostname,
        "fqdn": peer.fqdn,
        "address": peer.address,
        "port": peer.port,
        "ordinal": peer.ordinal,
        "zone": peer.zone,
    }


def show_set(peers: PeerSet) -> None:
    """Print a header line, then one line a pod."""
    console = terminal()
    if console is None:
        _print(header(peers), *lines(peers))
    else:
        table(console, peers)


def show_change(change: Change) -> None:
    """Print a header line, then one line for each pod that was added (+), was removed (-) or moved."""
    marked: list[tuple[str, str, Peer, str]] = [("+", "green", peer, peer.hostport) for peer in change.added]
    marked += [("-", "red", peer, peer.hostport) for peer in change.removed]
    marked += [("moved", "yellow", new, f"{old.hostport} -> {new.hostport}") for old, new in change.moved]
    head = f"{time.strftime('%H:%M:%S')} {header(change.after)}, generation {change.after.generation}"
    rows = _aligned([(mark, *_cells(peer, address)) for mark, _, peer, address in marked])
    console = terminal()
    if console is None:
        _print(head, *rows)
        return
    from rich.text import Text  # only needed for terminals

    console.print(Text(head, style="bold"))
    for row, (_, colour, _, _) in zip(rows, marked, strict=True):
        console.print(Text(row, style=colour), soft_wrap=True)


def header(peers: PeerSet) -> str:
    """Return `web-headless.prod:http: headless, 3 pods`."""
    count = len(peers)
    return printable(f"{peers.service}: {peers.kind}, {count} {'pod' if count == 1 else 'pods'}")


def lines(peers: Sequence[Peer]) -> list[str]:
    """Return one line a pod: its key, address, ordinal and zone if known, and its DNS name."""
    return _aligned([_cells(peer, peer.hostport) for peer in peers])


def _cells(peer: Peer, address: str) -> tuple[str, ...]:
    return (
        _key(peer),
        address,
        "" if peer.ordinal is None else f"ordinal {peer.ordinal}",
        f"zone {printable(peer.zone)}" if peer.zone else "",
        printable(peer.fqdn or "", 255),
        "(self)" if peer.is_self else "",
    )


def _key(peer: Peer) -> str:
    """Return its key, or "" if that is only its address."""
    return "" if peer.key == peer.hostport else printable(peer.key)


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Pad each column to its widest cell, and leave out columns that are empty."""
    columns = [(column, max(map(len, column))) for column in zip(*rows, strict=True)]
    kept = [[cell.ljust(width) for cell in column] for column, width in columns if width]
    return ["  " + "  ".join(row).rstrip() for row in zip(*kept, strict=True)]


def _print(*texts: str) -> None:
    print("\n".join(texts), flush=True)


def terminal() -> Console | None:
    """Return a console for tables and colours; None if stdout is no terminal or `rich` is not installed."""
    if sys.stdout is None or not sys.stdout.isatty():
        return None
    try:
        from rich.console import Console  # optional, and only needed for terminals
    except ImportError:
        return None
    return Console(highlight=False)


def table(console: Console, peers: PeerSet) -> None:
    from rich.table import Table  # only needed for terminals
    from rich.text import Text

    columns: list[tuple[str, str, Callable[[Peer], str]]] = [
        ("pod", "bold cyan", _key),
        ("address", "green", lambda peer: peer.hostport),
        ("ordinal", "", lambda peer: "" if peer.ordinal is None else str(peer.ordinal)),
        ("zone", "", lambda peer: printable(peer.zone or "")),
        ("name", "dim", lambda peer: printable(peer.fqdn or "", 255)),
        ("", "bold", lambda peer: "self" if peer.is_self else ""),
    ]
    shown = [column for column in columns if any(column[2](peer) for peer in peers)]
    rows = Table()
    for name, style, _ in shown:
        rows.add_column(name, style=style, overflow="fold", justify="right" if name == "ordinal" else "left")
    for peer in peers:
        rows.add_row(*(Text(cell(peer)) for _, _, cell in shown))
    console.print(Text(header(peers), style="bold"), soft_wrap=True)
    console.print(rows)
