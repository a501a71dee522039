"""A lookup that is overdue is logged when the program looks: the thread that would do so does not run."""

from __future__ import annotations

import logging
from threading import Event
from typing import TYPE_CHECKING

from peerdiscover import Answer, Discovery, Endpoint
from peerdiscover.answers import LookupRequest
from tests.waiting import LONG

from ._clock import SettableClock

if TYPE_CHECKING:
    import pytest


class HangsAfterOne:
    """Answers once; the next lookup does not return until it is let go."""

    kind = "hangs"

    def __init__(self) -> None:
        self.hanging, self.let_go = Event(), Event()
        self._answered = False

    def lookup(self, request: LookupRequest) -> Answer:  # noqa: ARG002  the protocol's
        if self._answered:
            self.hanging.set()
            self.let_go.wait(LONG)
        self._answered = True
        return Answer.of([Endpoint.parse("web-0=10.0.0.1:8080")], ttl=5)


def test_reading_the_status_logs_it_once(clock: SettableClock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "peerdiscover")
    source = HangsAfterOne()
    with Discovery("web-headless.prod:8080", source=source) as web:
        try:
            web.report_failure(web.peers[0], OSError("refused"))  # asks again
            clock.forward(1)
            assert source.hanging.wait(LONG)
            assert not web.status.stale
            assert not caplog.records
            clock.forward(60)
            for _ in range(2):
                status = web.status
                assert status.stale
                assert "has not returned from a lookup" in str(status.error)
            (record,) = caplog.records
            assert record.levelno == logging.WARNING
            assert "has not returned from a lookup" in record.getMessage()
        finally:
            source.let_go.set()
