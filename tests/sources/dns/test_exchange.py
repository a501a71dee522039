"""The exchange of one question: a story of tries, told without a socket and without a clock."""

from __future__ import annotations

import errno

import pytest

from peerdiscover.sources._server import ResolverOptions, Server
from peerdiscover.sources.dns._exchange import Exchange, Transmission
from peerdiscover.sources.dns._remembered import MAX_QUESTIONS, ServerStats
from peerdiscover.sources.dns._types import Question, RecordType, Reply, ReplyStatus

from ._lookups import NAME
from .test_messages import answered

FIRST, SECOND = Server("10.96.0.10"), Server("10.96.0.11")
ASKED = Question(NAME, RecordType.A)
GOOD = answered(ASKED, f"{NAME} 5 A 10.0.0.1")
CUT = answered(ASKED, f"{NAME} 5 A 10.0.0.1", flags=0x8200)  # type: ignore[arg-type]  # QR and TC
LONG = answered(ASKED, *(f"{NAME} 5 A 10.0.1.{i}" for i in range(90)))
WHOLE = answered(ASKED, f"{NAME} 5 A 10.0.0.1", f"{NAME} 5 A 10.0.0.2")


class Story:
    """An exchange, and the time as the test tells it."""

    def __init__(
        self,
        *servers: Server,
        stats: ServerStats | None = None,
        seconds: float = 5.0,
        bypass_cache: bool = False,
    ) -> None:
        self.now = 100.0
        self.stats = stats or ServerStats()
        self.tries: list[Transmission] = []
        self.exchange = Exchange(
            ASKED, servers, self.stats, now=self.now, until=self.now + seconds, bypass_cache=bypass_cache
        )

    @property
    def attempt(self) -> Transmission:
        assert self.exchange.current is not None, self.exchange.reply
        self.now = max(self.now, self.exchange.current.starts_at)
        if self.exchange.current not in self.tries[-1:]:
            self.tries.append(self.exchange.current)
        return self.exchange.current

    @property
    def reply(self) -> Reply:
        assert self.exchange.current is None
        assert self.exchange.reply is not None
        return self.exchange.reply

    def hears(self, wire: bytes, *, foreign: bool = False) -> bool:
        """The server sends this, with the id that was asked for, unless it is somebody else's."""
        message_id = (self.attempt.message_id + foreign) % 65536
        self.now += 0.001
        return self.exchange.received(message_id.to_bytes(2) + wire[2:], self.now, self.attempt)

    def hears_late(self, wire: bytes, attempt: Transmission) -> bool:
        """The server answers a try that timed out."""
        return self.exchange.received(attempt.message_id.to_bytes(2) + wire[2:], self.now, attempt)

    def silence(self) -> None:
        self.now = self.attempt.ends_at
        self.exchange.timed_out(self.now)

    def breaks(self, error: OSError | None = None) -> None:
        assert self.attempt
        self.exchange.failed(
            error or ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), self.now
        )


def test_the_first_try_is_over_udp_with_edns() -> None:
    story = Story(FIRST, SECOND)
    assert story.attempt.server == FIRST
    assert not story.attempt.tcp
    assert b"\x00\x00\x29\x04\xd0" in story.attempt.wire  # OPT, 1232 bytes
    assert story.attempt.ends_at - story.attempt.starts_at == pytest.approx(0.4)
    assert story.hears(GOOD)
    assert story.reply.addresses == ("10.0.0.1",)
    assert (story.reply.server, story.reply.asked) == (FIRST, (FIRST,))


def test_a_lost_datagram_is_repaired_quickly_and_tries_grow_longer() -> None:
    story = Story(FIRST)
    for _ in range(4):
        story.silence()
    assert story.hears(GOOD)
    assert [round(t.ends_at - t.starts_at, 2) for t in story.tries if not t.tcp] == [0.4, 0.8, 0.8, 1.5]
    assert [t.tcp for t in story.tries] == [False, False, True, False, False]
    assert len({t.message_id for t in story.tries}) > 1, "a fresh id each"
    assert story.reply.status is ReplyStatus.ANSWER


def test_an_answer_that_comes_late_counts() -> None:
    story = Story(FIRST, SECOND)
    story.silence()
    story.silence()
    assert not story.hears_late(b"junk", story.tries[0])
    assert story.hears_late(GOOD, story.tries[0])
    assert story.reply.status is ReplyStatus.ANSWER
    assert story.reply.server == FIRST
    assert story.hears_late(GOOD, story.tries[1]), "nobody listens any more"


def test_a_refusal_that_comes_late_does_not() -> None:
    story = Story(FIRST, SECOND)
    story.silence()
    assert story.hears_late(answered(code="SERVFAIL"), story.tries[0])
    assert story.attempt.server == SECOND
    assert story.hears(GOOD)


def test_a_late_answer_that_is_cut_short_is_asked_for_over_tcp_where_it_came_from() -> None:
    story = Story(FIRST, SECOND)
    story.silence()
    assert story.hears_late(CUT, story.tries[0])
    assert (story.attempt.server, story.attempt.tcp) == (FIRST, True)
    assert story.hears_late(GOOD, story.tries[0]), "something better is under way"
    assert story.hears(WHOLE)
    assert len(story.reply.addresses) == 2


def test_silence_of_all_servers() -> None:
    story = Story(FIRST, SECOND, seconds=2.0)
    while story.exchange.current:
        story.silence()
    assert story.now == pytest.approx(102.0)
    assert story.reply.status is ReplyStatus.FAILED
    assert story.reply.error == "10.96.0.10: no answer in 1.2 s; 10.96.0.11: no answer in 0.8 s"
    assert story.reply.asked == (FIRST, SECOND)


def test_what_is_not_ours_is_ignored_and_told_if_nothing_better_comes() -> None:
    story = Story(FIRST, seconds=0.4)
    assert not story.hears(GOOD, foreign=True)
    assert not story.hears(answered(Question("other.", RecordType.A)))
    assert not story.hears(GOOD[:20])
    assert not story.hears(b"junk")
    story.silence()
    assert story.reply.error.startswith(
        "10.96.0.10: no answer in 0.4 s, 4 replies ignored: wrong id, another"
    )
    story = Story(FIRST)
    assert not story.hears(GOOD, foreign=True)
    assert not story.hears(b"junk")
    assert story.hears(GOOD)
    assert story.reply.status is ReplyStatus.ANSWER
    ignored = "wrong id, too short for a DNS message"
    assert story.reply.ignored == (
        f"2 replies ignored from 10.96.0.10, which did not answer A {NAME}: {ignored}",
    )


@pytest.mark.parametrize("code", ["NXDOMAIN", "NOERROR"])
def test_nothing_there_ends_it(code: str) -> None:
    story = Story(FIRST, SECOND)
    assert story.hears(answered(code=code))
    assert story.reply.is_negative


@pytest.mark.parametrize("code", ["SERVFAIL", "REFUSED"])
def test_the_next_server_is_asked_after_a_refusal(code: str) -> None:
    story = Story(FIRST, SECOND)
    assert story.hears(answered(code=code))
    assert story.attempt.server == SECOND
    assert story.hears(GOOD)
    assert story.reply.asked == (FIRST, SECOND)


def test_servers_that_refuse_are_asked_twice_with_a_pause() -> None:
    story = Story(FIRST, SECOND)
    for _ in range(4):
        assert story.hears(answered(code="SERVFAIL"))
    assert story.reply.error == "10.96.0.10: SERVFAIL; 10.96.0.11: SERVFAIL"
    assert [t.server for t in story.tries[:4]] == [FIRST, SECOND, FIRST, SECOND]
    assert story.tries[2].starts_at == pytest.approx(100.2)
    assert story.now < 100.3


def test_a_server_that_refuses_does_not_end_the_wait_for_one_that_is_silent() -> None:
    story = Story(FIRST, SECOND, seconds=3.0)
    while story.exchange.current:
        if story.exchange.current.server == FIRST:
            story.hears(answered(code="REFUSED"))
        else:
            story.silence()
    assert [t.server for t in story.tries].count(FIRST) == 2
    assert story.reply.error.startswith("10.96.0.10: REFUSED; 10.96.0.11: no answer in ")


def test_where_nobody_listens_the_next_server_is_asked_at_once() -> None:
    story = Story(FIRST, SECOND)
    story.breaks()
    assert story.attempt.server == SECOND
    assert story.now == 100.0
    story.breaks(OSError(errno.EMFILE, "Too many open files"))
    story.breaks()
    story.breaks(OSError(errno.ENETUNREACH, "Network is unreachable"))
    assert story.reply.error == "10.96.0.10: connection refused; 10.96.0.11: Network is unreachable"


@pytest.mark.parametrize("code", ["FORMERR", "NOTIMP", "BADVERS"])
def test_a_server_without_edns_is_asked_without_it(code: str) -> None:
    story = Story(FIRST, SECOND)
    wire = bytearray(answered(code="FORMERR" if code == "BADVERS" else code))
    assert story.hears(bytes(wire))
    assert story.attempt.server == FIRST
    assert story.attempt.wire[10:12] == b"\x00\x00"
    assert story.hears(GOOD)
    assert story.reply.status is ReplyStatus.ANSWER


def test_a_reply_cut_short_is_asked_for_over_tcp() -> None:
    story = Story(FIRST, SECOND)
    assert story.hears(CUT)
    assert (story.attempt.server, story.attempt.tcp) == (FIRST, True)
    assert story.hears(WHOLE)
    assert not story.reply.truncated
    assert len(story.reply.addresses) == 2


def test_a_server_without_edns_is_asked_without_it_over_tcp_too() -> None:
    story = Story(FIRST)
    assert story.hears(answered(code="FORMERR"))
    assert story.hears(CUT)
    assert story.attempt.tcp
    assert story.attempt.wire[10:12] == b"\x00\x00"
    assert story.hears(WHOLE)
    assert len(story.reply.addresses) == 2


def _transports(stats: ServerStats, *heard: bytes | None) -> list[str]:
    """How an exchange asks that hears this, one after the other; None: TCP breaks."""
    story = Story(FIRST, stats=stats)
    for wire in heard:
        if wire is None:
            story.breaks()
        else:
            story.hears(wire)
    assert story.reply.status is ReplyStatus.ANSWER
    return ["tcp" if attempt.tcp else "udp" for attempt in story.tries]


def test_what_was_too_long_for_udp_is_asked_over_tcp_at_once_until_it_is_shorter() -> None:
    stats = ServerStats()
    assert _transports(stats, CUT, LONG) == ["udp", "tcp"]
    assert _transports(stats, LONG) == ["tcp"]
    assert _transports(stats, WHOLE) == ["tcp"]
    assert _transports(stats, WHOLE) == ["udp"]


def test_what_was_too_long_for_udp_is_asked_over_udp_where_tcp_fails() -> None:
    stats = ServerStats()
    assert _transports(stats, CUT, LONG) == ["udp", "tcp"]
    assert _transports(stats, None, CUT, LONG) == ["tcp", "udp", "tcp"]
    assert _transports(stats, LONG) == ["tcp"]
    assert _transports(stats, None, WHOLE) == ["tcp", "udp"]
    assert _transports(stats, WHOLE) == ["udp"]
    # Another question is none of it.
    other = Exchange(Question(NAME, RecordType.AAAA), [FIRST], stats, now=0, until=5)
    assert other.current is not None
    assert not other.current.tcp


def test_cut_short_over_tcp_as_well() -> None:
    story = Story(FIRST, SECOND)
    assert story.hears(CUT)
    assert story.hears(CUT)
    assert story.reply.truncated
    assert story.reply.note == ""


@pytest.mark.parametrize("silent", [True, False])
def test_no_tcp_to_be_had(silent: bool) -> None:
    story = Story(FIRST, SECOND)
    assert story.hears(CUT)
    for server in FIRST, SECOND:
        assert (story.attempt.server, story.attempt.tcp) == (server, True)
        if silent:
            story.silence()
        else:
            story.breaks()
    assert story.reply.truncated
    assert story.reply.addresses == ("10.0.0.1",)
    assert "TCP" in story.reply.note
    assert story.reply.server == FIRST
    assert set(story.reply.asked) == {FIRST, SECOND}
    assert story.now < 105


def test_no_third_server_is_asked_over_tcp() -> None:
    story = Story(FIRST, SECOND, Server("10.96.0.12"))
    assert story.hears(CUT)
    story.breaks()
    story.breaks()
    assert story.reply.truncated


def test_an_optional_question_knows_whose_datagrams_are_lost() -> None:
    stats = ServerStats()
    stats.udp_silent[FIRST] = True
    assert stats.snapshot().prefers_tcp(FIRST, ASKED)


def test_tcp_that_failed_last_time_gets_less_time() -> None:
    stats = ServerStats()
    for expected in 1.5, 0.5:
        story = Story(FIRST, stats=stats)
        assert story.hears(CUT)
        assert story.attempt.ends_at - story.attempt.starts_at == pytest.approx(expected, abs=0.01)
        story.silence()
        assert story.reply.truncated


def test_another_servers_tcp_will_do() -> None:
    story = Story(FIRST, SECOND)
    assert story.hears(CUT)
    story.breaks()
    assert story.hears(WHOLE)
    assert not story.reply.truncated
    assert story.reply.server == SECOND


def test_junk_over_tcp_ends_that_try() -> None:
    story = Story(FIRST)
    assert story.hears(CUT)
    assert story.hears(GOOD, foreign=True)
    assert story.reply.truncated


def test_junk_over_tcp_that_comes_late_ends_no_other_try() -> None:
    story = Story(FIRST, SECOND, bypass_cache=True)
    late = story.attempt
    story.silence()
    current = story.attempt
    story.exchange.received(b"junk", story.now, late)
    assert story.attempt is current


def test_servers_that_answered_last_time_are_asked_first() -> None:
    stats = ServerStats()
    story = Story(FIRST, SECOND, stats=stats)
    story.silence()
    assert story.hears(GOOD)
    story = Story(FIRST, SECOND, stats=stats)
    assert story.attempt.server == SECOND
    story.silence()
    assert story.hears(GOOD)
    assert Story(FIRST, SECOND, stats=stats).attempt.server == FIRST


def test_a_second_opinion_begins_over_tcp_at_another_server() -> None:
    story = Story(FIRST, SECOND, bypass_cache=True)
    assert (story.attempt.server, story.attempt.tcp) == (SECOND, True)
    assert story.hears(GOOD)
    assert story.reply.server == SECOND


def test_a_second_opinion_falls_back_to_udp() -> None:
    story = Story(FIRST, bypass_cache=True)
    story.breaks()
    assert not story.attempt.tcp
    assert story.hears(GOOD)
    assert story.reply.status is ReplyStatus.ANSWER


def test_a_server_that_says_no_over_tcp_is_not_asked_the_same_over_udp() -> None:
    story = Story(FIRST, SECOND, bypass_cache=True)
    assert story.hears(answered(code="SERVFAIL"))
    assert (story.attempt.server, story.attempt.tcp) == (FIRST, True)


@pytest.mark.parametrize("code", ["FORMERR", "NOTIMP"])
def test_a_server_that_does_not_understand_over_tcp_is_asked_over_udp(code: str) -> None:
    story = Story(FIRST, bypass_cache=True)
    assert story.attempt.tcp
    assert story.hears(answered(code=code))
    assert not story.attempt.tcp


def test_no_server_and_no_time() -> None:
    assert Story().reply.error == "no nameserver is known"
    story = Story(FIRST, seconds=0.0)
    if story.exchange.current:
        story.silence()
    assert story.reply.status is ReplyStatus.FAILED


# Other ways of asking


@pytest.mark.parametrize("code", ["FORMERR", "NOTIMP"])
def test_a_server_that_never_understands_has_refused(code: str) -> None:
    """It cost 50 questions and all of the time."""
    story = Story(FIRST)
    while story.exchange.current:
        story.hears(answered(code=code))
    assert len(story.tries) == 4, "twice with EDNS and twice without it"
    assert story.now < 100.5
    assert code in story.reply.error
    assert "does not" in story.reply.error, "the error says what that is"


def test_after_silence_a_server_is_asked_over_tcp_and_then_always() -> None:
    story = Story(FIRST)
    story.silence()
    story.silence()
    assert story.attempt.tcp
    assert story.hears(GOOD)
    again = Story(FIRST, stats=story.stats)
    assert again.attempt.tcp
    assert again.attempt.wire[10:12] == b"\x00\x00", "it may be EDNS that is lost"
    again.breaks()
    assert not again.attempt.tcp
    assert again.hears(GOOD)
    assert not Story(FIRST, stats=story.stats).attempt.tcp


def test_after_silence_a_server_is_asked_without_edns() -> None:
    story = Story(FIRST)
    for _ in range(3):
        story.silence()
    assert not story.attempt.tcp
    assert story.attempt.wire[10:12] == b"\x00\x00"
    assert story.hears(GOOD)
    assert story.reply.status is ReplyStatus.ANSWER


def test_an_answer_without_edns_that_is_cut_short_is_asked_for_over_tcp() -> None:
    story = Story(FIRST)
    for _ in range(3):
        story.silence()
    assert story.hears(CUT)
    assert story.attempt.tcp
    assert story.attempt.wire[10:12] == b"\x00\x00"
    assert story.attempt.ends_at - story.attempt.starts_at == pytest.approx(0.5), "it was silent over TCP"
    assert story.hears(WHOLE)
    assert len(story.reply.addresses) == 2


@pytest.mark.parametrize("server", [FIRST, SECOND])
def test_a_late_answer_counts_while_tcp_is_tried(server: Server) -> None:
    story = Story(FIRST, SECOND)
    for _ in range(4):
        story.silence()
    assert story.attempt.server == FIRST
    assert story.attempt.tcp
    assert story.hears_late(GOOD, next(sent for sent in story.tries if sent.server == server))
    assert story.reply.addresses == ("10.0.0.1",)
    assert not story.stats.udp_silent, "its datagrams arrive, if late"


def test_after_twenty_guesses_only_tcp_counts() -> None:
    story = Story(FIRST, SECOND)
    guessed = story.attempt
    for _ in range(19):
        assert not story.hears(GOOD, foreign=True)
    assert story.attempt is guessed
    assert story.hears(GOOD, foreign=True)
    assert (story.attempt.server, story.attempt.tcp) == (FIRST, True)
    assert story.hears_late(GOOD, guessed), "the right guess comes too late"
    assert story.exchange.reply is None
    assert story.hears(WHOLE)
    assert len(story.reply.addresses) == 2


def test_after_twenty_guesses_udp_never_counts_again() -> None:
    story = Story(FIRST)
    for _ in range(20):
        story.hears(GOOD, foreign=True)
    while story.exchange.current:
        assert story.attempt.tcp
        story.breaks()
    assert story.reply.status is ReplyStatus.FAILED


def test_junk_with_the_right_id_is_no_guess() -> None:
    story = Story(FIRST)
    for _ in range(20):
        assert not story.hears(answered(Question(f"other.{NAME}", RecordType.A)))
    assert not story.attempt.tcp
    assert story.hears(GOOD)
    assert story.reply.addresses == ("10.0.0.1",)


def test_the_options_of_resolv_conf() -> None:
    assert Story(FIRST, stats=ServerStats(ResolverOptions(use_tcp=True))).attempt.tcp
    story = Story(FIRST, stats=ServerStats(ResolverOptions(timeout=0.5, attempts=3)), seconds=9)
    for _ in range(8):
        if not story.attempt.tcp:
            assert story.attempt.ends_at - story.attempt.starts_at <= 0.501
        story.silence()
    refused = Story(FIRST, stats=ServerStats(ResolverOptions(attempts=3)))
    while refused.exchange.current:
        refused.hears(answered(code="SERVFAIL"))
    assert len(refused.tries) == 3


def test_second_opinions_take_turns() -> None:
    servers = [Server(f"10.0.0.{i}") for i in range(4)]
    stats = ServerStats()
    asked = [stats.order(servers, rotate=True)[0].host for _ in range(6)]
    assert asked == [f"10.0.0.{i}" for i in (1, 2, 3, 1, 2, 3)]
    assert stats.order(servers[:1], rotate=True) == servers[:1]


def test_what_is_remembered_of_questions_has_a_bound() -> None:
    stats = ServerStats()
    for i in range(3 * MAX_QUESTIONS):
        stats.mark_tcp(FIRST, Question(f"web-{i}.{NAME}", RecordType.A), too_long=True)
    assert len(stats.too_long) == MAX_QUESTIONS
    assert Question(f"web-{3 * MAX_QUESTIONS - 1}.{NAME}", RecordType.A) in stats.too_long


def test_a_question_that_is_remembered_again_is_among_the_latest() -> None:
    stats = ServerStats()
    for i in range(MAX_QUESTIONS):
        stats.mark_tcp(FIRST, Question(f"web-{i}.{NAME}", RecordType.A), too_long=True)
    first = Question(f"web-0.{NAME}", RecordType.A)
    stats.mark_tcp(FIRST, first, too_long=True)
    stats.mark_tcp(FIRST, ASKED, too_long=True)
    assert len(stats.too_long) == MAX_QUESTIONS
    assert first in stats.too_long


def test_a_lookup_may_take_hours() -> None:
    """The wait for a datagram grows to its bound, and not to what no number can be."""
    story = Story(FIRST, stats=ServerStats(ResolverOptions(timeout=1.0)), seconds=2000.0)
    while story.exchange.current is not None:
        story.silence()
    assert "no answer in" in story.reply.error
    assert len(story.tries) > 1024


def test_a_transmission_that_begins_late_has_its_time_all_the_same() -> None:
    story = Story(FIRST, seconds=1.0)
    due = story.attempt
    begun = story.exchange.begin(due.starts_at + 0.3)
    assert begun.ends_at - begun.starts_at == pytest.approx(due.ends_at - due.starts_at)
    assert begun.message_id == due.message_id
    last = story.exchange.begin(due.starts_at + 0.9)
    assert last.ends_at == story.exchange.until, "but not more than there is"
    assert story.exchange.begin(due.starts_at + 1.5).ends_at == due.starts_at + 1.5
