"""Words that do not come back: each has a plainer or a standard one, and that one is used everywhere.

python tests/test_words.py src/peerdiscover/http docs    # the places, without pytest
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
READ = ("src", "docs", "examples", "README.md", "CONTRIBUTING.md")
"""Not CHANGELOG.md: it names what was renamed."""
SUFFIXES = {".py", ".md", ".yaml"}

# A pattern, and what to write instead. A space stands for any white space, a new line of a comment
# included. Patterns ignore case; `\b` takes `_` for a letter, so `_WORD` lists begin and end by hand.
_WORDS = {
    r"(somebody|nobody|everybody|whoever|oneself)": "peer, pod, no peers, the caller, this pod",
    r"(?<!\.)(tell|tells|told|telling|teller)": "return, report, know, say",
    r"fates?": "outcome",
    r"mute": "inconclusive",
    r"vain": "hopeless, exhausted; without success",
    r"rooms?": "module; space",
    r"dial(s|led|ling|ler|lers|ed|ing|er)?": "connect",
    r"surroundings": "environment",
    r"trials?": "probe, half-open",
}
_PHRASES = {
    r"\bthe own\b": "its own, this pod's own, local",
    r"\b(is|are|was|were|be|been|being) wanted\b": "expected",
    r"\b(is|are|was|were|be) over\b(?! (HTTP|TCP|UDP|TLS|IPv[46]|the|a|its|\d))": "ended, expired",
    r"\bunder way\b": "in flight, pending",
    r"\blast[ _]words\b": "last answer",
    r"\ba text\b(?! (file|editor)|/)": "a string",
    r"(?<!math\.)\bfloors?\b(?! division)": "layer; lower bound",
    r"\bthe house\b": "the architecture, this library",
    r"\b(both|two|the|these|its|each|sync|async|every|either) shells?\b": "runtime, driver",
    r"\b(a|the|each|every|this|one|two|three|four|ten|hundred|per|\d+) roll\b(?! back)": "rolling restart",
    r"\brolls\b(?! back)": "rolling restarts",
}
# Old identifiers, with what they are now.
_NAMES = {
    r"_?[Ww]ays": "TransportOptions; phrases with 'ways' are fine",
    r"_ROOMS": "_EXPORTS",
    r"AsyncLine|shares_lines|share_lines": "PodStream, multiplexed",
    r"shakes_hands": "tls_handshaking",
    r"_take_to_heart": "_after_report",
    r"_tell_news|_has_news": "_publish_pending, _has_pending",
    r"_unharmed": "_guarded",
    r"fate_of|speaks_against": "classify, counts_as_pod_failure",
    r"is_mute|why_mute|is_nobody|saw_somebody|saw_nobody": "is_inconclusive, is_empty, on_peers, on_empty",
    r"hides_pods|_by_truth|told_by|told_alike|told_by_others": "is_vip_only, _from_authority, origin",
    r"_two_agree|agree_at|_keep_pairs|_keep_places": "_is_confirmed, confirmable_at, _merge_dual_stack",
    r"on_trial|_take_off|_GLANCE|distrusted": "half_open, _start_due, _POLL_INTERVAL, certificate_error",
    r"JunkError|_Together|_Alone|UNDER_WAY": "MismatchedReply, _SelectorDriver, _TaskDriver, CURRENT_ATTEMPT",
    r"with_": "replace",
    r"_talking|_showing|Oneself": "_stderr, _output, ThisPod",
    r"_carrier|Carrier|_places|Places": "_transport, _addresses",
}


def _compiled() -> Iterator[tuple[re.Pattern[str], str]]:
    for words, instead in _WORDS.items():  # within identifiers too: `told_by`, `_fates`
        yield re.compile(rf"(?<![A-Za-z])(?:{words})(?![a-z])", re.IGNORECASE), instead
    for words, instead in _PHRASES.items():
        yield re.compile(words.replace(" ", r"(?:\s+(?:#\s*)?)"), re.IGNORECASE), instead
    for words, instead in _NAMES.items():
        if words == r"_?[Ww]ays":
            yield re.compile(r"\b(?:_ways|Ways)\b(?! (of|to|in|out))"), instead
        else:
            yield re.compile(rf"\b(?:{words})\b"), instead


PATTERNS = tuple(_compiled())


def found_in(text: str) -> Iterator[tuple[int, str, str]]:
    """The line, the words, and what to write instead, for each place in a text."""
    for pattern, instead in PATTERNS:
        for match in pattern.finditer(text):
            yield text.count("\n", 0, match.start()) + 1, match[0], instead


def files(places: Sequence[str] = READ) -> Iterator[Path]:
    for place in places:
        path = ROOT / place
        yield from sorted(path.rglob("*")) if path.is_dir() else [path]


def report(places: Sequence[str] = READ) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{line}: {' '.join(words.split())!r}; write: {instead}"
        for path in files(places)
        if path.suffix in SUFFIXES and path.is_file()
        for line, words, instead in sorted(found_in(path.read_text()))
    ]


def test_they_do_not_come_back() -> None:
    assert report() == []


def test_old_words_are_found_and_their_neighbours_are_not() -> None:
    for old in (
        "Nobody is there.",
        "a `told_by` here",
        "_fates = 1",
        "what is\n    # under\n    # way",
        "a number of\nseconds is wanted",
        "the time is over.",
        "class Ways:",
        "after each roll of a Service",
        "x.with_(port=1)",
    ):
        assert list(found_in(old)), old
    for fine in (
        "two ways to do it",
        "file.tell()",
        "with_port, unwanted, wanted: int",
        "a request is over HTTP/2",
        "scroll, a rolling restart, roll back, rollout",
        "a dialect, a private, industrial, commute",
        "math.floor(x)",
        "sh -c runs it in a shell",
        "a text file",
        "overtold",
    ):
        assert not list(found_in(fine)), fine


if __name__ == "__main__":
    lines = report(sys.argv[1:] or READ)
    sys.stdout.writelines(f"{line}\n" for line in lines)
    sys.exit(1 if lines else 0)
