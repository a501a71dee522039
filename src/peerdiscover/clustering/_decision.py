"""What a pod says of itself, and what it does after a round of questions: a table of rules.

Invariants:

* The first rule of `RULES` that matches decides. Each says what it prevents. The tests delete one at a
  time, and find the two clusters that follow.
* No rule knows the time: a delay, a pause or an old answer makes a round fail, and does nothing else.
* Only the first founder forms a cluster, and only after two rounds in a row in which every founder
  answered, in the same life, and was in no cluster.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass

from peerdiscover._text import printable, quoted

LARGEST = 65_536
"""Bytes of the largest standing that is read: enough for a thousand founders."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a pod says of itself, at the moment it is asked."""

    name: str
    """Its key in the set, such as `web-0`."""
    boot: str
    """Which life it is in: random, and new in each process."""
    founders: tuple[str, ...]
    """The founders it knows, in order; the first one forms."""
    cluster: str | None = None
    """The cluster that it is in. Within one life this never becomes None again."""
    busy: bool = False
    """Whether it is forming or joining a cluster just now."""

    def to_json(self) -> bytes:
        """One JSON object, with a member for each field."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, answer: bytes) -> Standing:
        """Read what `to_json` writes; members that are not known are skipped.

        `ValueError` says in one line what came instead.
        """
        if len(answer) > LARGEST:
            raise ValueError(f"no standing, but more than {LARGEST:,} bytes: another program answers there")
        try:
            read: object = json.loads(answer)
        except (ValueError, RecursionError):
            read = None
        match read:
            case {
                "name": str(name),
                "boot": str(boot),
                "founders": [*founders],
                "cluster": (str() | None) as cluster,
                "busy": bool(busy),
            } if name and boot and cluster != "" and all(isinstance(founder, str) for founder in founders):
                return cls(name, boot, tuple(founders), cluster, busy)
        raise ValueError(f"no standing, but {quoted(answer)}: another program answers there")


@dataclass(frozen=True, slots=True)
class Form:
    """Form this cluster."""

    cluster: str


@dataclass(frozen=True, slots=True)
class Join:
    """Join this cluster at the first of these peers that takes it."""

    cluster: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """Ask again in a moment."""

    why: str
    """One line for people."""
    peer: str | None = None
    """The key of the peer that it waits for, if it is one."""
    boots: Mapping[str, str] | None = None
    """Which life each peer was in, if only a second such round is missing: `before` of the next decision."""


Decision = Form | Join | Wait
Heard = Mapping[str, Standing]
Silent = Mapping[str, BaseException]


@dataclass(frozen=True, slots=True)
class _Round:
    me: Standing
    heard: Heard
    silent: Silent
    before: Mapping[str, str] | None

    @property
    def clusters(self) -> dict[str, list[str]]:
        """The clusters that peers say they are in, each with those peers, founders first."""
        found: dict[str, list[str]] = {}
        for name in [*self.me.founders, *(name for name in self.heard if name not in self.me.founders)]:
            if name in self.heard and (cluster := self.heard[name].cluster) is not None:
                found.setdefault(cluster, []).append(name)
        return found

    def wait_for(self, name: str) -> Wait:
        if (error := self.silent.get(name)) is None:
            why = "it is not in the set"
        else:
            why = f"no answer ({printable(str(error)) or type(error).__name__})"
        return Wait(f"waiting for {printable(name)}: {why}", name)


def decide(me: Standing, heard: Heard, silent: Silent, before: Mapping[str, str] | None) -> Decision:
    """What a pod that is in no cluster does after a round in which it asked every other peer of its set.

    `heard` are the answers and `silent` the errors, by key. Answers in which the name is not the key count as
    errors. `before` is `boots` of the `Wait` that the round just before ended with; None if it had none.
    """
    this_round = _Round(me, heard, silent, before)
    decisions = (rule(this_round) for rule in RULES)
    return next(decision for decision in decisions if decision is not None)


def _two_clusters(now: _Round) -> Decision | None:
    """There are two: joining one of them at random would make it worse."""
    if len(now.clusters) < 2:
        return None
    each = " and ".join(f"{printable(cluster)} ({_list(names)})" for cluster, names in now.clusters.items())
    return Wait(f"there are two clusters, so none is joined: {each}; end the pods of one, with their disks")


def _most_founders(now: _Round) -> Decision | None:
    """Pods that are no founders must not keep alive what all founders forgot, and form anew."""
    me = now.me
    for cluster, names in now.clusters.items():
        if me.name not in me.founders and 2 * sum(name in me.founders for name in names) <= len(me.founders):
            return Wait(
                f"waiting for most founders ({_list(me.founders)}) to be in {printable(cluster)}: as yet "
                f"only {_list(names)} answered that"
            )
    return None


def _join(now: _Round) -> Decision | None:
    """The cluster that exists goes first, on the first founder, too: it may have lost its disk."""
    return next((Join(cluster, tuple(names)) for cluster, names in now.clusters.items()), None)


def _first_founder(now: _Round) -> Decision | None:
    """One pod forms, always the same one: views of the set differ, the order of founders does not."""
    first = now.me.founders[0]
    if now.me.name == first:
        return None
    return (
        Wait(f"waiting for {printable(first)} to form", first) if first in now.heard else now.wait_for(first)
    )


def _every_founder(now: _Round) -> Decision | None:
    """A founder that is not heard may be in a cluster."""
    missing = (name for name in now.me.founders if name != now.me.name and name not in now.heard)
    return next((now.wait_for(name) for name in missing), None)


def _every_peer(now: _Round) -> Decision | None:
    """Any other peer that is not heard may be in a cluster that all founders forgot."""
    return next((now.wait_for(name) for name in now.silent), None)


def _nothing_pending(now: _Round) -> Decision | None:
    """A join may be in flight to a cluster whose former just died."""
    busy = (name for name, standing in now.heard.items() if standing.busy)
    return next((Wait(f"waiting for {printable(name)}: it joins or forms", name) for name in busy), None)


def _same_founders(now: _Round) -> Decision | None:
    """During a rollout of new founders there may be two that are first."""
    for name, standing in now.heard.items():
        if standing.founders != now.me.founders:
            return Wait(
                f"waiting for {printable(name)}: its founders are {_list(standing.founders)}, and here "
                f"they are {_list(now.me.founders)}; every pod needs the same",
                name,
            )
    return None


def _twice(now: _Round) -> Decision | None:
    """A pod may have restarted, and forgotten, between two answers of one round."""
    boots = {name: standing.boot for name, standing in now.heard.items()}
    if now.before == boots:
        return None
    return Wait("every founder answered; asking once more before forming", boots=boots)


def _form(now: _Round) -> Decision:
    return Form(f"{now.me.name}-{now.me.boot}")


RULES: tuple[Callable[[_Round], Decision | None], ...] = (
    _two_clusters,
    _most_founders,
    _join,
    _first_founder,
    _every_founder,
    _every_peer,
    _nothing_pending,
    _same_founders,
    _twice,
    _form,
)


def _list(names: Iterable[str]) -> str:
    return printable(", ".join(names)) or "none"
