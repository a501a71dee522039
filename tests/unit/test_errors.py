"""The tree of errors, as its docstring draws it; and errors that cross processes."""

from __future__ import annotations

import copy
import pickle

import pytest

import peerdiscover
from peerdiscover import (
    ClosedError,
    ConfigurationError,
    NameNotFoundError,
    NoPeersError,
    OrdinalNotFoundError,
    Outcome,
    PeerDiscoverError,
    ResolutionError,
    ResolutionTimeoutError,
    errors,
)

ERRORS = [name for name in errors.__all__ if name != "Outcome"]


def test_the_tree() -> None:
    parents = {
        ConfigurationError: {PeerDiscoverError, ValueError},
        ResolutionError: {PeerDiscoverError},
        NameNotFoundError: {ResolutionError, NoPeersError},
        ResolutionTimeoutError: {ResolutionError, TimeoutError},
        NoPeersError: {PeerDiscoverError},
        OrdinalNotFoundError: {NoPeersError},
        ClosedError: {PeerDiscoverError},
        PeerDiscoverError: {Exception},
    }
    assert {kind: set(kind.__bases__) for kind in parents} == parents
    assert {kind.__name__ for kind in parents} == set(ERRORS)


def test_the_docstring_draws_every_error_with_its_other_parent() -> None:
    drawn = errors.__doc__ or ""
    for name in ERRORS:
        assert name in drawn
    for line in ("ConfigurationError (ValueError)", "ResolutionTimeoutError (TimeoutError)"):
        assert line in drawn


def test_every_error_is_public() -> None:
    assert set(errors.__all__) <= set(peerdiscover.__all__)


@pytest.mark.parametrize("kind", [ResolutionError, NameNotFoundError, ResolutionTimeoutError])
def test_resolution_errors_say_what_was_asked_of_whom(kind: type[ResolutionError]) -> None:
    error = kind(
        "web: not found", service="web", name="web.x.", servers=["10.0.0.10"], outcome=Outcome.NOT_FOUND
    )
    error.add_note("attempt 1")
    for again in (error, copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(again) is kind
        assert str(again) == "web: not found"
        assert (again.service, again.name, again.servers) == ("web", "web.x.", ("10.0.0.10",))
        assert again.outcome is Outcome.NOT_FOUND
        assert again.__notes__ == ["attempt 1"]


def test_what_is_not_known_is_empty() -> None:
    error = ResolutionError("web: nothing")
    assert (error.service, error.name, error.servers, error.outcome) == ("", "", (), None)


@pytest.mark.parametrize("kind", [ConfigurationError, NoPeersError, OrdinalNotFoundError, ClosedError])
def test_the_others_cross_processes_too(kind: type[PeerDiscoverError]) -> None:
    again = pickle.loads(pickle.dumps(kind("why")))
    assert type(again) is kind
    assert str(again) == "why"
