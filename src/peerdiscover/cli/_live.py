"""`watch` on a terminal: below the changes, which scroll, a block with the set. `q` ends the command.

Invariants:

* The block shows what `peers` and `explain()` say, once a second. It decides nothing.
* The terminal is as it was when the command ends, however it ends.
"""

from __future__ import annotations

import os
import select
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from peerdiscover import Discovery
from peerdiscover._text import printable

from ._output import header, table_of

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_POLL = 0.2
"""Seconds between two looks at whether the command has ended."""
_BESIDE = 8
"""Lines of the screen that are not pods: header, frame, the last answer, what is held, the key."""


@contextmanager
def block(console: Console, discovery: Discovery) -> Iterator[None]:
    """Show the block until the end of the `with`; `q` closes the discovery."""
    from rich.live import Live  # only needed for terminals

    since: dict[str, str] = {}
    live = Live(
        console=console,
        get_renderable=lambda: _drawn(console, discovery, since),
        refresh_per_second=1,
        transient=True,
    )
    with _quit_key(discovery.close), live:
        yield


def _drawn(console: Console, discovery: Discovery, since: dict[str, str]) -> RenderableType:
    """The set, the last answer, and what is held and why: all in the library's own words."""
    from rich.console import Group
    from rich.text import Text

    peers = discovery.peers
    now = time.strftime("%H:%M:%S")
    for gone in since.keys() - {peer.key for peer in peers}:
        del since[gone]
    for peer in peers:
        since.setdefault(peer.key, now)
    shown = list(peers)[: max(1, console.height - _BESIDE)]
    more = len(peers) - len(shown)
    lines = discovery.explain().splitlines()
    last = next((lines[n + 1] for n, line in enumerate(lines[:-1]) if line == "Last answers:"), "")
    notable = [
        line.strip()
        for line in lines
        if ": held: " in line or line.startswith(("No answer now: ", "Watch failed"))
    ]
    texts = [Text(f"… and {more} more")] * (more > 0)
    texts += [Text(f"last answer: {last.strip()}", style="dim")]
    texts += [Text(printable(line, 500), style="yellow") for line in notable[:3]]
    return Group(
        Text(header(peers), style="bold"),
        table_of(console, shown, since) if shown else Text("no peers yet"),
        *texts,
        Text("q ends", style="dim"),
    )


@contextmanager
def _quit_key(act: Callable[[], object]) -> Iterator[None]:
    """Call `act` when `q` is pressed, if there is a keyboard."""
    fd = -1
    with suppress(AttributeError, OSError, ValueError):  # it is closed, no terminal, or not this session's
        if os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp():  # a command in the background must not read
            fd = sys.stdin.fileno()
    if fd < 0:
        yield
        return
    import termios
    import tty

    ended = threading.Event()

    def read() -> None:
        while not ended.is_set():
            if select.select([fd], [], [], _POLL)[0]:
                key = os.read(fd, 1)
                if key in (b"q", b"Q"):
                    act()
                if key in (b"q", b"Q", b""):
                    return

    before = termios.tcgetattr(fd)
    keys = threading.Thread(target=read, name="peerdiscover-keys", daemon=True)
    try:
        tty.setcbreak(fd)
        keys.start()
        yield
    finally:
        ended.set()
        keys.join()
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
