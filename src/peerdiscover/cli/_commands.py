"""The commands resolve, watch and wait.

Invariants:

* The exit status depends only on what is known when the command ends.
* `watch` prints a change before it runs `--exec` for it; both get the same change.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import threading
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import peerdiscover
from peerdiscover import DNS, Discovery, Fallback, Kubernetes, Policy
from peerdiscover._text import quoted
from peerdiscover.answers import Source
from peerdiscover.errors import ConfigurationError, Outcome, ResolutionTimeoutError
from peerdiscover.names import ServiceName
from peerdiscover.peers import Change

from . import FOUND, NO_ANSWER, NO_PEERS, status_of
from ._live import block
from ._output import change_json, set_json, show_change, show_set, terminal
from ._stderr import say, say_error

_NAMELESS = (
    "the pods have no names of their own, so no ordinals: a StatefulSet's have, behind the Service it names"
)
_FOREVER = 10.0 * 365 * 86400  # seconds; a policy's times must be finite


def run(arguments: Namespace) -> int:
    """Run one command and return its exit status."""
    return {"resolve": resolve, "watch": watch, "wait": wait}[arguments.command](arguments)


def source_of(arguments: Namespace) -> Source | None:
    """Return the source that the options ask for; None if the name and the environment decide."""
    names = (arguments.namespace, arguments.cluster_domain)
    dns = (arguments.nameserver, *names, arguments.family)
    if not any(dns):
        return None
    scheme = ServiceName.parse(arguments.name).scheme
    if scheme in ("k8s", "static") and (arguments.nameserver or arguments.family):
        raise ConfigurationError(
            f"{quoted(arguments.name)} does not use DNS: --nameserver and --family are for names without "
            f"{scheme}:"
        )
    kubernetes = (
        Kubernetes(namespace=names[0], cluster_domain=names[1]) if scheme in ("k8s", "auto") else None
    )
    if kubernetes is not None and scheme == "k8s":
        return kubernetes
    source = DNS(arguments.nameserver, *names, arguments.family or "any")
    return source if kubernetes is None else Fallback(kubernetes, source)


def resolve(arguments: Namespace) -> int:
    peers = peerdiscover.resolve(arguments.name, source=source_of(arguments), timeout=arguments.timeout)
    if arguments.json:
        print(set_json(peers))
    else:
        show_set(peers)
        if peers.kind == "headless" and not any(peer.hostname for peer in peers):
            say(f"{arguments.name}: {_NAMELESS}")
    return FOUND


def watch(arguments: Namespace) -> int:
    command = _command(arguments.run)
    seconds = arguments.timeout or _FOREVER
    policy = Policy(min_peers=0, ready_timeout=seconds)
    began = time.monotonic()
    with Discovery(arguments.name, source=source_of(arguments), policy=policy) as discovery:
        if not discovery.peers:
            say(f"{arguments.name}: no peers yet ({discovery.status.outcome}); watching")
        # With --exec the terminal is the other program's, too.
        console = None if arguments.json or command else terminal()
        left = seconds - (time.monotonic() - began)
        live = block(console, discovery) if console else nullcontext()
        with _changes(discovery, left) as changes, live:
            for change in changes:
                if arguments.json:
                    print(change_json(change), flush=True)
                else:
                    show_change(change, console)
                if command:
                    _execute(command, change)
    if discovery.peers:
        return FOUND
    return NO_ANSWER if discovery.status.outcome in (None, Outcome.FAILED) else NO_PEERS


def wait(arguments: Namespace) -> int:
    from ._wait_self import HINT, this_pod, wait_for_own_name  # imports dnspython

    seconds = arguments.timeout
    began = time.monotonic()
    service = ServiceName.parse(arguments.name)
    me = this_pod(service, arguments.namespace, arguments.cluster_domain) if arguments.own else None
    # A waiting command should see a change soon, so it looks up more often than a long-lived discovery.
    policy = Policy(min_peers=arguments.min, ready_timeout=seconds, max_refresh=5.0, retry_max=5.0)
    discovery = Discovery(service, source=source_of(arguments), policy=policy)
    try:
        with discovery:
            if me is not None:
                with _changes(discovery, seconds - (time.monotonic() - began)) as changes:
                    if not any(me.is_in(change.after) for change in changes):
                        known = ", ".join(peer.address for peer in discovery.peers) or "none"
                        raise me.not_in_dns(
                            arguments.name, f"the pods known are {known}", discovery.status.outcome
                        )
                left = seconds - (time.monotonic() - began)
                wait_for_own_name(me, service, arguments.nameserver, left)
    except ResolutionTimeoutError as error:
        say_error(error)
        status = status_of(error, has_peers=bool(discovery.peers))
        if me is not None and status == NO_PEERS and error.name != me.fqdn and not me.is_in(discovery.peers):
            say(HINT)  # DNS says that there are no pods, and this pod itself may be the one that is missing
        return status
    show_set(discovery.peers)
    return FOUND


@contextmanager
def _changes(discovery: Discovery, seconds: float) -> Iterator[Iterator[Change]]:
    """Iterate over its changes, until the discovery is closed after so many seconds."""
    changes = discovery.changes()
    timer = threading.Timer(min(max(seconds, 0.0), threading.TIMEOUT_MAX), discovery.close)
    timer.daemon = True
    timer.start()
    try:
        yield changes
    finally:
        timer.cancel()


def _command(text: str | None) -> list[str]:
    """Split `--exec CMD` into words; an empty list if it was not given."""
    if text is None:
        return []
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ConfigurationError(f"--exec {quoted(text)}: {error}") from None
    if not words or shutil.which(words[0]) is None:
        raise ConfigurationError(f"--exec {quoted(text)}: no such command")
    return words


def _execute(command: list[str], change: Change) -> None:
    """Run the command and wait for it. A failure is reported on stderr, and does not end `watch`."""
    lost = f"the change to generation {change.after.generation} is lost, since a change is passed on once"
    try:
        done = subprocess.run(command, input=change_json(change) + "\n", encoding="utf-8", check=False)  # noqa: S603 - the user's own command
    except OSError as error:
        say(f"--exec {command[0]}: {error}; {lost}")
        return
    if done.returncode:
        result = f"signal {-done.returncode}" if done.returncode < 0 else f"status {done.returncode}"
        say(f"--exec {command[0]} ended with {result}; {lost}")
