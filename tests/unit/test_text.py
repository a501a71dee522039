"""What others wrote, made fit to be shown."""

from __future__ import annotations

import pytest

from peerdiscover._text import printable, quoted


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("eu-west-1a", "eu-west-1a"),
        ("zürich 1", "zürich 1"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("a\nforged line", r"a\nforged line"),
        ("a\u2028b\x85c\x7f", r"a\u2028b\x85c\x7f"),
        ("\u202etxt.exe", r"\u202etxt.exe"),
        ("\udc80", r"\udc80"),
        ("", ""),
    ],
)
def test_control_characters_are_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_length_is_bounded_whatever_is_escaped() -> None:
    assert printable("a" * 20, 20) == "a" * 20
    assert printable("a" * 21, 20) == "a" * 19 + "…"
    assert len(printable("\x1b" * 1_000_000, 20)) == 20


class _Rude:
    def __repr__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("web", "'web'"),
        ("w" * 1_000_000, repr("w" * 99 + "…") + " (1,000,000 characters)"),
        ("\x1b[31m", r"'\x1b[31m'"),
        (10**400, "1" + "0" * 98 + "…"),
        (10**5000, "<int>"),
        (_Rude(), "<_Rude>"),
        (None, "None"),
        ("amqp://user:secret@web:5672", "'amqp://…@web:5672'"),
        ("http://user:s3@cret@web/a@b", "'http://…@web/a@b'"),
        ("http://" + "s" * 1000 + "@web", "'http://…@web'"),
        (["http://a:secret@web", "b@web"], "['http://…@web', 'b@web']"),
    ],
    ids=["short", "long", "control", "big", "huge", "rude", "none", "url", "at", "long-url", "urls"],
)
def test_a_value_is_quoted_on_one_short_line(value: object, shown: str) -> None:
    assert quoted(value) == shown
