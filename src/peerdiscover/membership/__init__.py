"""The core: what an answer does to the set, and when to ask again. No I/O, no clock.

core            `Membership`: one service's set, kept up to date by the answers it is given
reconciler      what an answer does to the set
members         an answer, read as peers
evidence        what speaks against a peer
schedule        when to ask again
watch_state     whether the source is watched or asked
health          which peers pickers leave out because they failed
journal         recent answers, pending log records, and the errors made from them
status, explaining   what is known, as numbers and in words
"""

from __future__ import annotations

from .core import Membership
from .status import Status

__all__ = ["Membership", "Status"]
