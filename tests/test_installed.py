"""What is tested is what users install."""

from __future__ import annotations

from importlib.metadata import metadata, requires
from pathlib import Path

import pytest

import peerdiscover

from .tools.nameservers import in_ci


def test_ci_tests_the_installed_wheel() -> None:
    if not in_ci():
        pytest.skip("outside CI a checkout's own code may be tested, too")
    assert "site-packages" in Path(peerdiscover.__file__).parts


def test_package_is_marked_as_typed() -> None:
    assert (Path(peerdiscover.__file__).parent / "py.typed").is_file()


def test_metadata() -> None:
    """PEP 639: an SPDX expression and the licence's text; and no dependency beyond the five."""
    about = metadata("peerdiscover")
    assert about["License-Expression"] == "Apache-2.0"
    assert about.get_all("License-File") == ["LICENSE"]
    needed = [line for line in requires("peerdiscover") or [] if "extra ==" not in line]
    assert sorted(line.split(">=")[0] for line in needed) == [
        "anyio",
        "dnspython",
        "httpcore",
        "httpx",
        "tenacity",
    ]
