"""What an optional part of the library needs beside it."""

from __future__ import annotations

import re
from importlib import import_module
from importlib.util import find_spec


def missing(part: str, package: str, least: str, *, module: str | None = None) -> str:
    """What to install for `peerdiscover.part`; "" if the package is there, and new enough.

    An older one would fail later, and elsewhere: requests before 2.32.2 looks up the service's name itself.
    """
    module = module or package
    needs, install = f"peerdiscover.{part} needs {package}", f"pip install 'peerdiscover[{part}]'"
    if find_spec(module) is None:
        return f"{needs}: {install}"
    found: str = import_module(module).__version__
    if _release(found) < _release(least):
        return f"{needs} {least} or newer, and this is {found}: {install}"
    return ""


def _release(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)[:3]))
