"""Every interleaving of a few pods that run the real `decide`, with crashes at any moment.

    python -m tests.clustering.model --founders 4 --crashes 2 --disk

A step is one of these, of any pod: it starts; another pod makes an answer to its question, which arrives at
once or never (`decide` cannot see that one came late); it decides by the answers that came so far; it
begins what it decided, however much later; a peer takes or refuses its join; the peer's answer comes, or is
lost; `form` returns or fails; it crashes, and loses its memory, and its disk or not.

It is a split if pods are in two clusters. In one is also a pod whose `form` runs, one whose join was taken,
and one that is down with a cluster on its disk. A state is stuck if no steps without another crash lead
from it to all pods in one cluster.

States that differ in names alone are one: clusters and lives are numbered as they appear. What another than
the first founder hears from pods without a cluster is left out, since `decide` does not look at it
(`test_model` has that as a test). What remains is so little that any number of crashes can be searched.
"""

from __future__ import annotations

import argparse
import sys
import time
from array import array
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from peerdiscover.clustering import Form, Join, Standing, Wait, decide

Decision = Form | Join | Wait

# A pod is a tuple that begins with what it does.
DOWN, ASKS, FORMS_SOON, FORMS, JOINS_SOON, JOINS, TAKEN, IN = range(8)
# (DOWN, disk) · (ASKS, heard, before) · (FORMS_SOON,) · (FORMS, cluster) · (JOINS_SOON, cluster, peers)
# (JOINS, cluster, peer, other peers) · (TAKEN, cluster, other peers) · (IN, cluster)
Pod = tuple[Any, ...]
State = tuple[Pod, ...]

NOT_STARTED: Pod = (DOWN, 0)
BUSY = (FORMS, JOINS, TAKEN)
SILENT = TimeoutError("silent")


@dataclass
class Model:
    """What is searched: how many pods, which faults, and which parts of the protocol are left out."""

    founders: int = 3
    others: int = 0
    crashes: int | None = None
    """None: any number. There are only so many states."""
    disk: bool = False
    """A crash may leave the disk. False: it never does."""
    hidden: bool = False
    """The set may lack the pods that do not answer."""
    join_checks: bool = True
    """A join fails if the peer is not in that cluster. False: the protocol is broken."""
    all_answers: bool = False
    """Answers that `decide` does not look at are kept, too: more states, and the same outcome."""
    split: list[str] | None = field(default=None, init=False)
    stuck: list[str] | None = field(default=None, init=False)
    states: int = field(default=0, init=False)
    used: int = field(default=0, init=False)
    """How many crashes led to the last new state."""

    def __post_init__(self) -> None:
        self.n = self.founders + self.others
        self.names = tuple(f"web-{i}" for i in range(self.n))
        self.nothing_heard: Pod = (None,) * self.n
        self.idle: Pod = (ASKS, self.nothing_heard, None)
        self._decide = cache(self._decide_now)
        self._crashed: list[tuple[int, str, State]] = []

    def _decide_now(self, i: int, heard: Pod, before: Pod | None, hidden: bool) -> Decision:
        founders = self.names[: self.founders]
        answers = {
            self.names[j]: Standing(
                self.names[j], str(answer[0]), founders, f"c{answer[1]}" if answer[1] else None, answer[2]
            )
            for j, answer in enumerate(heard)
            if answer is not None
        }
        silent = {name: SILENT for j, name in enumerate(self.names) if j != i and name not in answers}
        last = None
        if before is not None:
            last = {self.names[j]: str(life) for j, life in enumerate(before) if life is not None}
        return decide(Standing(self.names[i], "now", founders), answers, {} if hidden else silent, last)

    # Steps

    def steps(self, state: State) -> Iterator[tuple[str, State]]:
        """Every step that is no crash, and what to call it."""
        for i in range(self.n):
            for text, pod in self._steps_of(i, state):
                yield text, (*state[:i], pod, *state[i + 1 :])

    def _steps_of(self, i: int, state: State) -> Iterator[tuple[str, Pod]]:
        name, pod = self.names[i], state[i]
        if pod[0] == DOWN:
            yield f"{name} starts", (IN, pod[1]) if pod[1] else self.idle
        elif pod[0] == ASKS:
            yield from self._answers(i, state)
            yield from self._decisions(i, pod)
        elif pod[0] == FORMS_SOON:
            cluster = 1 + max(_named(state), default=0)
            yield f"{name} begins to form c{cluster}", (FORMS, cluster)
        elif pod[0] == FORMS:
            yield f"{name} has formed c{pod[1]}", (IN, pod[1])
            yield f"{name} fails to form c{pod[1]}", self.idle
        elif pod[0] == JOINS_SOON:
            for j in pod[2]:
                others = tuple(k for k in pod[2] if k != j)
                yield f"{name} asks {self.names[j]} to join c{pod[1]}", (JOINS, pod[1], j, others)
        elif pod[0] == JOINS:
            _, cluster, j, others = pod
            if state[j] == (IN, cluster) or (state[j][0] != DOWN and not self.join_checks):
                yield f"{self.names[j]} takes the join of {name}", (TAKEN, cluster, others)
            yield f"the join of {name} fails", self._after_failure(cluster, others)
        elif pod[0] == TAKEN:
            _, cluster, others = pod
            yield f"{name} has joined c{cluster}", (IN, cluster)
            yield f"the answer to the join of {name} is lost", self._after_failure(cluster, others)

    def _answers(self, i: int, state: State) -> Iterator[tuple[str, Pod]]:
        _, heard, before = state[i]
        for j, other in enumerate(state):
            cluster = other[1] if other[0] == IN else 0
            if j == i or heard[j] is not None or other[0] == DOWN:
                continue
            if i and not cluster and not self.all_answers:
                continue
            busy = other[0] in BUSY
            says = f"c{cluster}" if cluster else "busy" if busy else "none"
            heard_now = (*heard[:j], (0, cluster, busy), *heard[j + 1 :])
            yield f"{self.names[j]} answers {self.names[i]}: {says}", (ASKS, heard_now, before)

    def _decisions(self, i: int, pod: Pod) -> Iterator[tuple[str, Pod]]:
        name = self.names[i]
        for hidden in (False, True)[: 1 + self.hidden]:
            decision = self._decide(i, pod[1], pod[2], hidden)
            if isinstance(decision, Form):
                yield f"{name} decides to form", (FORMS_SOON,)
            elif isinstance(decision, Join):
                peers = tuple(sorted(self.names.index(peer) for peer in decision.names))
                yield (
                    f"{name} decides to join {decision.cluster}",
                    (JOINS_SOON, int(decision.cluster[1:]), peers),
                )
            elif decision.boots is not None:
                lives = tuple(map(decision.boots.get, self.names))
                before = tuple(None if life is None else min(int(life), 1) for life in lives)
                yield f"{name} waits for a second round", (ASKS, self.nothing_heard, before)
            else:
                yield f"{name} waits", self.idle

    def _after_failure(self, cluster: int, others: tuple[int, ...]) -> Pod:
        return (JOINS_SOON, cluster, others) if others else self.idle

    def crash(self, state: State) -> Iterator[tuple[str, State]]:
        """Every crash that may happen now."""
        for i, pod in enumerate(state):
            if pod[0] == DOWN:
                continue
            for disk in (0, pod[1]) if self.disk and pod[0] in (FORMS, TAKEN, IN) else (0,):
                after = list(state)
                after[i] = (DOWN, disk)
                if i and state[0][0] == ASKS:
                    after[0] = _aged(state[0], i)
                what = f"c{disk} on its disk" if disk else "nothing kept"
                yield f"{self.names[i]} crashes, {what}", tuple(after)

    # The search

    def search(self) -> Model:
        """Visit every state, those that need fewer crashes first; stop at a split."""
        start: State = (NOT_STARTED,) * self.n
        self._number = {start: 0}
        self._came_from: list[tuple[int, str]] = [(-1, "")]
        sources, targets = array("L"), array("L")
        layer = deque([start])  # what is reached with so many crashes, and not with fewer
        while layer and self.split is None:
            next_layer: deque[State] = deque()
            while layer and self.split is None:
                state = layer.popleft()
                here = self._number[state]
                for text, after in self.steps(state):
                    sources.append(here)
                    targets.append(self._visit(here, text, after, layer))
                if self.crashes is None or self.used < self.crashes:
                    for text, after in self.crash(state):
                        self._crashed.append((here, text, after))
            for here, text, after in self._crashed:
                self._visit(here, text, after, next_layer)
            self._crashed.clear()
            layer = next_layer
            self.used += bool(layer)
        self.states = len(self._number)
        if self.split is None:
            whole = [i for state, i in self._number.items() if len({*state}) == 1 and state[0][0] == IN]
            self._look_for_stuck(whole, sources, targets)
        return self

    def _visit(self, here: int, text: str, after: State, new: deque[State]) -> int:
        """The number of the state after this step."""
        state = _renumbered(after)
        number = self._number.setdefault(state, len(self._number))
        if number == len(self._came_from):
            self._came_from.append((here, text))
            new.append(state)
            if len(_members(state)) > 1 and self.split is None:
                self.split = self._run(number)
        return number

    def _look_for_stuck(self, whole: list[int], sources: array[int], targets: array[int]) -> None:
        before: list[list[int]] = [[] for _ in range(self.states)]
        for source, target in zip(sources, targets, strict=True):
            before[target].append(source)
        reached = bytearray(self.states)
        while whole:
            i = whole.pop()
            if not reached[i]:
                reached[i] = 1
                whole.extend(before[i])
        if (stuck := reached.find(0)) >= 0:
            self.stuck = self._run(stuck)

    def _run(self, i: int) -> list[str]:
        """The steps that led to a state."""
        run = []
        while i:
            i, text = self._came_from[i]
            run.append(text)
        return run[::-1]


def _members(state: State) -> set[int]:
    """The clusters that pods are in, or will be without another decision."""
    return {pod[1] for pod in state if pod[0] in (DOWN, FORMS, TAKEN, IN) and pod[1]}


def _named(state: State) -> Iterator[int]:
    """The clusters in a state, in the order in which they appear."""
    for pod in state:
        if pod[0] == ASKS:
            yield from (answer[1] for answer in pod[1] if answer is not None and answer[1])
        elif pod[0] != FORMS_SOON and pod[1]:
            yield pod[1]


def _renumbered(state: State) -> State:
    order: dict[int, int] = {0: 0}
    for cluster in _named(state):
        order.setdefault(cluster, len(order))
    if all(old == new for old, new in order.items()):
        return state

    def renumbered(pod: Pod) -> Pod:
        if pod[0] == FORMS_SOON:
            return pod
        if pod[0] == ASKS:
            heard = tuple(a and (a[0], order[a[1]], a[2]) for a in pod[1])
            return (ASKS, heard, pod[2])
        return (pod[0], order[pod[1]], *pod[2:])

    return tuple(map(renumbered, state))


def _aged(pod: Pod, i: int) -> Pod:
    """Pod 0 after pod `i` crashed: life 0 is the present one, 1 that of the last round, 2 one between."""
    _, heard, before = pod
    answer, last = heard[i], None if before is None else before[i]
    if answer is not None:
        life = 1 if last is None or last == answer[0] else 2
        heard = (*heard[:i], (life, *answer[1:]), *heard[i + 1 :])
    if before is not None and last is not None:
        before = (*before[:i], 1, *before[i + 1 :])
    return (ASKS, heard, before)


def main() -> None:
    parser = argparse.ArgumentParser(description="Search every interleaving of a bootstrap for two clusters.")
    parser.add_argument("--founders", type=int, default=3)
    parser.add_argument("--others", type=int, default=0)
    parser.add_argument("--crashes", type=int, help="default: any number")
    parser.add_argument("--disk", action="store_true", help="a crash may leave the disk")
    parser.add_argument("--all-answers", action="store_true", help="keep what decide does not look at, too")
    parser.add_argument("--hidden", action="store_true", help="the set may lack silent pods")
    options = parser.parse_args()
    began = time.monotonic()
    model = Model(**vars(options)).search()
    what = ", ".join(f"{name}: {value}" for name, value in vars(options).items())
    figures = (
        f"{model.states:,} states, the last after {model.used} crashes, in {time.monotonic() - began:.0f} s"
    )
    sys.stdout.write(f"{what}: {figures}\n")
    for name in "split", "stuck":
        if (run := getattr(model, name)) is not None:
            sys.stdout.write("\n  ".join([f"{name}:", *run]) + "\n")
    sys.exit(model.split is not None or model.stuck is not None)


if __name__ == "__main__":
    main()
