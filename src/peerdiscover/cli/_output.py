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
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from peerdiscover._text import counted, printable
from peerdiscover.peers import Change, Peer, PeerSet

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


_KEYS = ("key", "hostname", "fqdn", "address", "port", "ordinal", "zone", "node", "hostport")


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
    return {name: getattr(peer, name) for name in _KEYS}


def show_set(peers: PeerSet, console: Console | None = None) -> None:
    """Print a header line, then one line a pod."""
    console = console or terminal()
    show([("bold", header(peers))], console)
    if console is None:
        show([("", line) for line in lines(peers)])
    else:
        console.print(table_of(console, peers))


def show_change(change: Change, console: Console | None = None) -> None:
    """Print a header line, then one line for each pod that was added (+), was removed (-) or moved."""
    marked: list[tuple[str, str, Peer, str]] = [("+", "green", peer, peer.hostport) for peer in change.added]
    marked += [("-", "red", peer, peer.hostport) for peer in change.removed]
    marked += [("moved", "yellow", new, f"{old.hostport} -> {new.hostport}") for old, new in change.moved]
    head = f"{time.strftime('%H:%M:%S')} {header(change.after)}, generation {change.after.generation}"
    rows = _aligned([(mark, *_cells(peer, address)) for mark, _, peer, address in marked])
    colours = [colour for _, colour, _, _ in marked]
    show([("bold", head), *zip(colours, rows, strict=True)], console)


def show(styled: Iterable[tuple[str, str]], console: Console | None = None) -> None:
    """Print lines; each is given with the style that it has on a terminal."""
    console = console or terminal()
    if console is None:
        print("".join(f"{text}\n" for _, text in styled), end="", flush=True)
        return
    from rich.text import Text  # only needed for terminals

    for style, text in styled:
        console.print(Text(text, style=style), soft_wrap=True)


def header(peers: PeerSet) -> str:
    """Return `web-headless.prod:http: headless, 3 pods`."""
    return printable(f"{peers.service}: {peers.kind}, {counted(len(peers), 'pod')}")


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


def terminal() -> Console | None:
    """Return a console for tables and colours; None if stdout is no terminal or `rich` is not installed."""
    if sys.stdout is None or not sys.stdout.isatty():
        return None
    try:
        from rich.console import Console  # optional, and only needed for terminals
    except ImportError:
        return None
    return Console(highlight=False)


def table_of(console: Console, peers: Sequence[Peer], since: Mapping[str, str] | None = None) -> Table:
    """Return a table that is as wide as the terminal at most: names shorten in the middle, addresses never.

    `since` is when each key was first seen.
    """
    from rich.table import Table  # only needed for terminals
    from rich.text import Text

    columns: list[tuple[str, str, Callable[[Peer], str]]] = [
        ("pod", "bold cyan", _key),
        ("address", "green", lambda peer: peer.hostport),
        ("ordinal", "", lambda peer: "" if peer.ordinal is None else str(peer.ordinal)),
        ("zone", "", lambda peer: printable(peer.zone or "")),
        ("since", "", lambda peer: (since or {}).get(peer.key, "")),
        ("name", "dim", lambda peer: printable(peer.fqdn or "", 255)),
        ("", "bold", lambda peer: "self" if peer.is_self else ""),
    ]
    cells = {name: [cell(peer) for peer in peers] for name, _, cell in columns}
    widths = {name: max(map(len, (name, *texts))) for name, texts in cells.items() if any(texts)}
    excess = sum(widths.values()) + 3 * len(widths) + 1 - console.width
    for name in ("name", "pod", "zone"):
        if name in widths and excess > 0:
            width = max(_SHORTEST, widths[name] - excess)
            excess -= widths[name] - width
            cells[name] = [_shortened(text, width) for text in cells[name]]
    rows = Table()
    for name, style, _ in columns:
        if name in widths:
            rows.add_column(
                name,
                style=style,
                no_wrap=True,
                min_width=max(map(len, cells[name])),
                justify="right" if name == "ordinal" else "left",
            )
    for row in zip(*(cells[name] for name in widths), strict=True):
        rows.add_row(*map(Text, row))
    return rows


_SHORTEST = 12
"""Characters of a name that is shortened."""


def _shortened(text: str, width: int) -> str:
    """Return its beginning and its end: names of one Service differ there."""
    end = (width - 1) // 2
    return text if len(text) <= width else f"{text[: width - 1 - end]}…{text[len(text) - end :]}"
