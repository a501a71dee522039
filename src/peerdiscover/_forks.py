"""What becomes of open discoveries and sockets at a fork, and at the end of the process.

Before a fork all their locks are taken, so that none is held by a thread that the child does not
have, and no core is half-way through a change. The parent releases them; the child replaces them.

In the child, hooks run in the order in which they were registered, and ours begins a thread: it must not
run before those of what that thread uses. (logging's frees a lock, for which it would wait for ever;
random's makes children differ.) So ours is registered when the first discovery is opened.

In the child, the parent's sockets are closed without a word: a TLS close would end the connection for the
parent, too. Their hook is registered at import, so that it runs before a child's threads open their own.
"""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from contextlib import suppress
from functools import cache
from typing import Protocol


class Open(Protocol):
    """What has locks and threads of its own. Each hook works even if `_before_fork` was interrupted.

    One that inherits this writes only the hooks that it needs.
    """

    def _before_fork(self) -> None: ...
    def _after_fork_in_parent(self) -> None: ...
    def _after_fork_in_child(self) -> None: ...
    def _at_exit(self) -> None: ...


_open: weakref.WeakSet[Open] = weakref.WeakSet()
_open_lock = threading.RLock()
_held: list[Open] = []
"""Those whose locks are taken for a fork; guarded by the lock."""


def opened(discovery: Open) -> None:
    """Call its hooks from now on."""
    with _open_lock:
        _watch_for_forks()
        _open.add(discovery)


def closed(discovery: Open) -> None:
    """Call its hooks no more."""
    with _open_lock:
        _open.discard(discovery)


def _before_fork() -> None:
    _open_lock.acquire()
    _held[:] = list(_open)
    for discovery in _held:
        discovery._before_fork()  # noqa: SLF001 - the protocol above


def _after_fork_in_parent() -> None:
    for discovery in reversed(_held):
        discovery._after_fork_in_parent()  # noqa: SLF001
    _held.clear()
    _open_lock.release()


def _after_fork_in_child() -> None:
    held, _held[:] = list(_held), []
    _open_lock.release()  # this thread took it, and is the only one that is left
    for discovery in held:
        discovery._after_fork_in_child()  # noqa: SLF001


def _at_exit() -> None:
    for discovery in list(_open):
        discovery._at_exit()  # noqa: SLF001


@cache
def _watch_for_forks() -> None:
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=_before_fork,
            after_in_parent=_after_fork_in_parent,
            after_in_child=_after_fork_in_child,
        )


class Descriptor(Protocol):
    """A socket, or what keeps one that it does not give out."""

    def fileno(self) -> int: ...


_sockets: weakref.WeakKeyDictionary[Descriptor, int] = weakref.WeakKeyDictionary()
"""Open sockets, and the process that opened each: the child may open some before it closes the others."""


def owns(sock: Descriptor) -> None:
    """The socket is this process's alone, and is closed in a child."""
    _sockets[sock] = os.getpid()


def _close_in_child() -> None:
    for sock, pid in list(_sockets.items()):
        if pid == os.getpid():
            continue
        del _sockets[sock]
        import socket  # here it is loaded already; a program without sockets does not load it

        with suppress(OSError):
            if isinstance(sock, socket.socket):
                sock.close()
            elif (number := sock.fileno()) >= 0:
                # Its owner does not know that it is closed, and would later close whatever has its number.
                nowhere = os.open(os.devnull, os.O_RDWR)
                os.dup2(nowhere, number)
                os.close(nowhere)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)

atexit.register(_at_exit)
