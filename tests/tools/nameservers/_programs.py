"""Which real servers this machine has, and how to get those that it lacks."""

from __future__ import annotations

import os
import shutil

import pytest

__all__ = ["in_ci", "require"]

_HOW_TO_GET = {
    "named": "BIND: apt-get install bind9",
    "knotd": "Knot DNS: apt-get install knot",
    "dnsmasq": "dnsmasq: apt-get install dnsmasq-base",
    "unbound": "unbound: apt-get install unbound",
    "ip": "iproute2: apt-get install iproute2",
}

# Where distributions put servers; not on every user's PATH.
_SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin", "/opt/homebrew/sbin")


def in_ci() -> bool:
    """Whether this is the run that counts: there nothing is skipped."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


def require(program: str) -> str:
    """The path of a program. Where it is missing the test is skipped, and in CI it fails."""
    path = shutil.which(program, path=os.pathsep.join((os.environ.get("PATH", ""), *_SBIN)))
    if path is not None:
        return path
    missing = f"{program} is not there; {_HOW_TO_GET.get(program, 'install it')}"
    if in_ci():
        pytest.fail(missing, pytrace=False)
    pytest.skip(missing)
