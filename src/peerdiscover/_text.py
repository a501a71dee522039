"""What others wrote, made fit to be shown: in a log line, an error, on a terminal.

Names, zones, ports and messages come from DNS servers, API servers and environment variables. Printed as
they are, they could colour a terminal, forge a second line of a log, or fill it.
"""

from __future__ import annotations

import re

_USERINFO = re.compile(r"://[^/?#\s'\"]*@")


def printable(text: str, limit: int = 200) -> str:
    """`text` on one line of at most `limit` characters: control characters escaped, what is too long cut off.

    Escaped is what `str.isprintable` refuses: control characters, line breaks, marks that turn the direction
    of writing, lone surrogates.
    """
    shown = text[: limit + 1]
    if not shown.isprintable():
        shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)
    return shown if len(shown) <= limit else f"{shown[: limit - 1]}…"


def counted(n: int, one: str, many: str = "") -> str:
    """`1 peer`, `2 peers`; `many` is for words that do not end in s then."""
    return f"{n} {one if n == 1 else many or one + 's'}"


def quoted(value: object, limit: int = 100) -> str:
    """The `repr` of what a caller gave, for an error: on one line, and short however long the value is.

    A URL is shown without its user and password.
    """
    if isinstance(value, str):
        value = _USERINFO.sub("://…@", value)
        if len(value) > limit:
            return f"{printable(repr(value[: limit - 1] + '…'), limit + 2)} ({len(value):,} characters)"
    try:
        return printable(_USERINFO.sub("://…@", repr(value)), limit)
    except Exception:  # noqa: BLE001 - a foreign `__repr__`, or an integer of more digits than Python prints
        return f"<{type(value).__name__}>"
