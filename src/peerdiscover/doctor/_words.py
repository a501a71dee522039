"""What the commands of containers say of us: names for the API, and `peerdiscover wait`. Pure.

Invariants:

* Nothing else is concluded from a command. What is no well-formed name is skipped.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from itertools import pairwise

from peerdiscover.errors import ConfigurationError
from peerdiscover.names import ServiceName

from ._object import Object, items

MAX_TEXT = 20_000
"""Characters of one argument that are read: a script that is longer does not name peers in its middle."""
WITH_VALUE = {"--min", "--timeout", "--nameserver", "--namespace", "--cluster-domain", "--family"}


def names_in(w: Object) -> Iterator[tuple[ServiceName, str]]:
    """The words that are names for the API (`k8s:`, `auto:`), and the namespace of each."""
    for words in _commands(w, env=True):
        for word in words:
            text = word.rpartition("=")[2]
            if text.startswith(("k8s:", "auto:")) and (name := _name(text)):
                yield name, name.namespace or w.namespace


def waits(w: Object) -> Iterator[tuple[ServiceName, int]]:
    """The names that its containers wait for, and how many pods each expects."""
    for words in _commands(w, env=False):
        for place, pair in enumerate(pairwise(words)):
            if (pair[0].rpartition("/")[2], pair[1]) == ("peerdiscover", "wait"):
                yield from _wait(words[place + 2 :])


def _wait(arguments: Sequence[str]) -> Iterator[tuple[ServiceName, int]]:
    least, name, rest = 1, None, iter(arguments)
    for word in rest:
        option, is_set, value = word.partition("=")
        if option in WITH_VALUE:
            value = value if is_set else next(rest, "")
            is_number = option == "--min" and value.isdecimal() and len(value) < 10
            least = int(value) if is_number else least
        elif word.startswith(tuple(";&|()<>")):
            break
        elif not word.startswith("-"):
            name = name or _name(word)
    if name is not None:
        yield name, least


def _name(text: str) -> ServiceName | None:
    try:
        return ServiceName.parse(text)
    except ConfigurationError:
        return None


def _commands(w: Object, *, env: bool) -> Iterator[list[str]]:
    """The words of each container's command and arguments (`env`: and variables), as a shell splits them."""
    for container in (*items(w.pod, "initContainers"), *items(w.pod, "containers")):
        given = [container.get("command"), container.get("args")]
        texts = [one for listed in given if isinstance(listed, list) for one in listed]
        texts += [one.get("value") for one in items(container, "env")] if env else []
        yield [word for text in texts if isinstance(text, str) for word in _split(text[:MAX_TEXT])]


def _split(text: str) -> list[str]:
    """The words of an argument, which may be a script for a shell."""
    parser = shlex.shlex(text, posix=True, punctuation_chars=True)
    parser.whitespace_split = True
    try:
        return list(parser)
    except ValueError:  # a quote that is not closed
        return text.split()
