"""Taking our own secrets out of what others wrote. Pure.

API servers, gateways and debugging proxies echo what they were sent, and what they say is quoted in errors
and logs.

Invariants:

* It is done before anything is cut off or read: half a token is not found any more.
* A token is found as it stands and as JSON, HTML, URLs and Python write it. Credentials behind "Bearer" are
  taken out whatever they are: part of a token, or another's.
"""

from __future__ import annotations

import html
import json
import re
from collections import deque
from urllib.parse import quote

HIDDEN = b"<hidden>"
_KEPT = 4
"""How many tokens are remembered; the server may echo an older one for a while."""
_SHORTEST = 4
"""Below that a token is no secret, and every other word would contain it."""
_BEARER = re.compile(rb"(?i)(bearer(?:\s|%20|\+)+)[\w.~+/=\-]{8,}")


class Redactor:
    """Knows the tokens that were sent."""

    def __init__(self) -> None:
        self._tokens: deque[tuple[bytes, ...]] = deque(maxlen=_KEPT)

    def add(self, token: str) -> None:
        """From now on this one is taken out."""
        in_json, in_python = json.dumps(token)[1:-1], repr(token)[1:-1]
        spelled = {token, in_json, in_python, html.escape(token), quote(token, safe="")}
        variants = tuple(sorted(map(str.encode, spelled), key=len, reverse=True))
        if len(token) >= _SHORTEST and variants not in self._tokens:
            self._tokens.append(variants)

    def text(self, text: str) -> str:
        """`text` without them."""
        return self.raw(text.encode(errors="surrogatepass")).decode(errors="surrogatepass")

    def raw(self, data: bytes) -> bytes:
        """What the server sent, without them."""
        for variants in self._tokens:
            for variant in variants:
                data = data.replace(variant, HIDDEN)
        if b"earer" in data or b"EARER" in data:
            data = _BEARER.sub(rb"\1" + HIDDEN, data)
        return data
