"""The twins have the same names and signatures: who knows one knows the other."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest

from peerdiscover import AsyncDiscovery, Discovery, aresolve, resolve

ENTERING = {"close": "aclose", "__enter__": "__aenter__", "__exit__": "__aexit__"}


def members(kind: type) -> dict[str, Any]:
    return {
        name: inspect.getattr_static(kind, name)
        for name in {*dir(kind), *inspect.get_annotations(kind)}
        if not name.startswith("_") and hasattr(kind, name)
    }


def asynchronous(text: str) -> str:
    """What the text of an annotation would be in the other twin."""
    text = re.sub(r"Callable\[\[Peer\], (?:Awaitable\[T\]|T)\]", "CALL", text)
    return re.sub(r"\bAsync(?=Attempts|Discovery|Iterator)", "", text)


def signature(member: Any) -> list[tuple[str, object, object, str]]:
    function: Any = member.fget if isinstance(member, property) else member
    found = [
        (p.name, p.kind, p.default, asynchronous(str(p.annotation)))
        for p in inspect.signature(function).parameters.values()
    ]
    return [*found, ("return", None, None, asynchronous(str(inspect.signature(function).return_annotation)))]


def test_names() -> None:
    names, twins = set(members(Discovery)), set(members(AsyncDiscovery))
    assert names - twins == {"close"}
    assert twins - names == {"aclose"}


@pytest.mark.parametrize("name", sorted(set(members(Discovery)) - set(ENTERING)))
def test_signatures(name: str) -> None:
    one, other = members(Discovery)[name], members(AsyncDiscovery)[name]
    assert type(one) is type(other)
    assert signature(one) == signature(other)
    assert inspect.getdoc(one)


@pytest.mark.parametrize("name", ["__init__", "__repr__"])
def test_what_both_inherit(name: str) -> None:
    assert getattr(Discovery, name) is getattr(AsyncDiscovery, name)


@pytest.mark.parametrize(("name", "twin"), ENTERING.items())
def test_entering(name: str, twin: str) -> None:
    assert signature(getattr(Discovery, name)) == signature(getattr(AsyncDiscovery, twin))


def test_what_is_awaited() -> None:
    """Whatever may wait, and nothing else."""
    awaited = {
        name for name, member in members(AsyncDiscovery).items() if inspect.iscoroutinefunction(member)
    }
    assert awaited == {"start", "aclose", "refresh", "wait", "broadcast", "call"}
    assert not [name for name, member in members(Discovery).items() if inspect.iscoroutinefunction(member)]


def test_first_words_are_the_same() -> None:
    """A docstring's first sentence says the same of both, where the twins each have their own."""
    for name in "refresh", "wait", "changes", "on_change", "report_failure":
        one, other = (inspect.getdoc(getattr(kind, name)) for kind in (Discovery, AsyncDiscovery))
        assert one == other


def test_resolving_once() -> None:
    assert signature(resolve) == signature(aresolve)
    assert inspect.iscoroutinefunction(aresolve)
    assert not inspect.iscoroutinefunction(resolve)


def test_start_takes_wait_by_position_too() -> None:
    assert inspect.signature(Discovery.start).bind(None, False).arguments["wait"] is False
