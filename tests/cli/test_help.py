"""Help, versions, usage: what needs no nameserver, and costs little."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import pytest

from .running import environment, run

COMMANDS = ("resolve", "watch", "wait", "demo")


def test_help_names_every_command_and_the_exit_status() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert all(f"\n    {command}" in done.stdout for command in COMMANDS)
    assert "3    no answer" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command(command: str) -> None:
    done = run(command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"usage: peerdiscover {command}" in done.stdout
    if command != "demo":
        options = ("--nameserver", "--namespace", "--cluster-domain", "--family", "--timeout", "-v")
        assert all(f"\n  {option}" in done.stdout for option in options)
        assert "PEERDISCOVER_NAMESERVERS" in done.stdout
        assert f"examples:\n  peerdiscover {command} " in done.stdout


def test_help_where_stdout_is_ascii() -> None:
    assert run("wait", "--help", PYTHONIOENCODING="ascii").returncode == 0


def test_version() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"peerdiscover {version('peerdiscover')}\n")


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("resolv",),
        ("resolve",),
        ("resolve", "web.prod:1", "--family", "ipv5"),
        ("resolve", "web.prod:1", "--timeout", "0"),
        ("resolve", "web.prod:1", "--timeout", "soon"),
        ("resolve", "web.prod:1", "--time", "1"),
        ("wait", "web.prod:1", "--min", "-1"),
        ("demo", "web.prod:1"),
    ],
    ids=" ".join,
)
def test_usage_errors(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage: peerdiscover" in done.stderr


def test_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "peerdiscover", "resolve", "static:10.0.0.1:80"],
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "10.0.0.1:80" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "unwanted"),
    [
        (["--help"], {"anyio", "asyncio", "dns", "httpx", "logging.handlers", "rich", "socket", "tenacity"}),
        (["resolve", "static:10.0.0.1:80"], {"anyio", "asyncio", "dns", "httpx", "rich"}),
    ],
)
def test_loads_only_what_it_uses(arguments: list[str], unwanted: set[str]) -> None:
    program = f"""
import sys
from peerdiscover.cli import main
try:
    main({arguments})
except SystemExit:
    pass
print(*sorted(sys.modules), sep="\\n", file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment())
    loaded = set(done.stderr.split())
    assert "peerdiscover.cli" in loaded
    assert not loaded & unwanted
