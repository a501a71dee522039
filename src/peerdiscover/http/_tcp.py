"""What the kernel knows of a connection, and does for it. Sockets may be asyncio's, too."""

from __future__ import annotations

import math
import select
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

_TCP_INFO: int | None = getattr(socket, "TCP_INFO", None)
_ESTABLISHED = 1  # linux/tcp_states.h; once the other side has closed: CLOSE_WAIT
_RDHUP: int | None = getattr(select, "POLLRDHUP", None)
_USER_TIMEOUT: int | None = getattr(socket, "TCP_USER_TIMEOUT", None)
# A pod that goes while it is thought to be working is noticed by these, after some three seconds.
KEEPALIVE = [
    (level, option, value)
    for level, name, value in (
        (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
        (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 1),
        (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 1),
        (socket.IPPROTO_TCP, "TCP_KEEPCNT", 3),
    )
    if (option := getattr(socket, name, None)) is not None
]


def is_closed_by_other_side(sock: Any) -> bool:
    """Return whether the other side has closed, as far as the kernel says (Linux)."""
    if _TCP_INFO is None:
        return False
    try:
        state: int = sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 1)[0]
    except OSError:
        return True
    return state != _ESTABLISHED


def closed_poll(sock: Any) -> Callable[[int], object]:
    """Return a function that, called with 0, returns the same for an open socket, in a fraction of the time.

    It lets other threads run, which is right for an event loop only.
    """
    if _RDHUP is None:
        return lambda _: False
    poll = select.poll()
    poll.register(sock.fileno(), _RDHUP)
    return poll.poll


def set_user_timeout(sock: Any, seconds: float) -> None:
    """Let the kernel end a connection if what is written is not acknowledged for so long; 0: the default."""
    if _USER_TIMEOUT is not None:
        with suppress(OSError):  # closed meanwhile: writing raises that
            sock.setsockopt(socket.IPPROTO_TCP, _USER_TIMEOUT, math.ceil(1000 * seconds))
