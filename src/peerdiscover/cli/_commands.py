"""The commands that ask: resolve, watch, wait.

Rules of this room:

* A command decides the exit status by what is known at its end, and by nothing else.
* `watch` prints a change before it runs `--exec` for it; both are told the same.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import threading
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager

import peerdiscover
from peerdiscover import DNS, Discovery, Fallback, Kubernetes, Policy
from peerdiscover.answers import Source
from peerdiscover.errors import ConfigurationError, Outcome, ResolutionTimeoutError
from peerdiscover.names import ServiceName
from peerdiscover.peers import Change

from . import FOUND, NO_ANSWER, NOBODY, status_of
from ._output import change_json, set_json, show_change, show_set
from ._stderr import say, say_error

__all__ = ["run"]

_FOREVER = 10.0 * 365 * 86400  # a policy's times are finite
_RESOLVE_SECONDS = 5.0
_WAIT_SECONDS = 60.0


def run(command: str, arguments: Namespace) -> int:
    """Run one command; the exit status comes back."""
    return {"resolve": resolve, "watch": watch, "wait": wait}[command](arguments)


def source_of(arguments: Namespace) -> Source | None:
    """The source that name and options mean; None: what the name says, with the pod's surroundings."""
    where = (arguments.namespace, arguments.cluster_domain)
    dns = (arguments.nameserver, *where, arguments.family)
    if not any(dns):
        return None
    scheme = ServiceName.parse(arguments.name).scheme
    if scheme == "k8s" and (arguments.nameserver or arguments.family):
        raise ConfigurationError(
            f"{arguments.name!r} asks the API server: --nameserver and --family are for names without k8s:"
        )
    kubernetes = (
        Kubernetes(namespace=where[0], cluster_domain=where[1]) if scheme in ("k8s", "auto") else None
    )
    if kubernetes is not None and scheme == "k8s":
        return kubernetes
    source = DNS(arguments.nameserver, *where, arguments.family or "any")
    return source if kubernetes is None else Fallback(kubernetes, source)


def resolve(arguments: Namespace) -> int:
    """`peerdiscover resolve`."""
    peers = peerdiscover.resolve(
        arguments.name, source=source_of(arguments), timeout=arguments.timeout or _RESOLVE_SECONDS
    )
    if arguments.json:
        print(set_json(peers))
    else:
        show_set(peers)
    return FOUND


def watch(arguments: Namespace) -> int:
    """`peerdiscover watch`."""
    command = _command(arguments.run)
    seconds = arguments.timeout or _FOREVER
    policy = Policy(min_peers=0, ready_timeout=seconds)
    began = time.monotonic()
    with Discovery(arguments.name, source=source_of(arguments), policy=policy) as discovery:
        if not discovery.peers:
            say(f"{arguments.name}: nobody yet ({discovery.status.outcome}); watching")
        with _changes(discovery, seconds - (time.monotonic() - began)) as changes:
            for change in changes:
                if arguments.json:
                    print(change_json(change), flush=True)
                else:
                    show_change(change)
                if command:
                    _execute(command, change)
    if discovery.peers:
        return FOUND
    return NO_ANSWER if discovery.status.outcome in (None, Outcome.FAILED) else NOBODY


def wait(arguments: Namespace) -> int:
    """`peerdiscover wait`."""
    from ._wait_self import WHY, oneself, wait_for_own_name  # it loads the reader of DNS messages

    seconds = arguments.timeout or _WAIT_SECONDS
    began = time.monotonic()
    service = ServiceName.parse(arguments.name)
    me = oneself(service, arguments.namespace, arguments.cluster_domain) if arguments.own else None
    # Whoever waits wants to know soon: shorter ceilings than those of a discovery that lives for days.
    policy = Policy(min_peers=arguments.min, ready_timeout=seconds, max_refresh=5.0, retry_max=5.0)
    discovery = Discovery(service, source=source_of(arguments), policy=policy)
    try:
        with discovery:
            if me is not None:
                with _changes(discovery, seconds - (time.monotonic() - began)) as changes:
                    if not any(me.is_in(change.after) for change in changes):
                        held = f"the pods known are {', '.join(p.address for p in discovery.peers) or 'none'}"
                        raise me.missing(arguments.name, held, discovery.status.outcome)
                left = seconds - (time.monotonic() - began)
                wait_for_own_name(me, service, arguments.nameserver, left)
    except ResolutionTimeoutError as error:
        say_error(error)
        status = status_of(error, anybody=bool(discovery.peers))
        if me is not None and status == NOBODY and error.name != me.fqdn and not me.is_in(discovery.peers):
            say(WHY)  # nobody is there as far as DNS says, and this pod may be the reason to wait
        return status
    show_set(discovery.peers)
    return FOUND


@contextmanager
def _changes(discovery: Discovery, seconds: float) -> Iterator[Iterator[Change]]:
    """Its changes, which end after so many seconds: the discovery is closed then."""
    changes = discovery.changes()
    timer = threading.Timer(min(max(seconds, 0.0), threading.TIMEOUT_MAX), discovery.close)
    timer.daemon = True
    timer.start()
    try:
        yield changes
    finally:
        timer.cancel()


def _command(text: str | None) -> list[str]:
    """The words of `--exec CMD`; none where it is not given."""
    if text is None:
        return []
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ConfigurationError(f"--exec {text!r}: {error}") from None
    if not words or shutil.which(words[0]) is None:
        raise ConfigurationError(f"--exec {text!r}: there is no such command")
    return words


def _execute(command: list[str], change: Change) -> None:
    """Run the command and wait for it. What becomes of it is said, and stops nothing."""
    try:
        done = subprocess.run(command, input=change_json(change) + "\n", encoding="utf-8", check=False)  # noqa: S603 - the user's own command
    except OSError as error:
        say(f"--exec {command[0]}: {error}")
        return
    if done.returncode:
        how = f"signal {-done.returncode}" if done.returncode < 0 else f"status {done.returncode}"
        say(f"--exec {command[0]} ended with {how}")
