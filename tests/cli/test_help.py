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


LONG, DIGITS = "a" * 100_000, "9" * 5_000


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("resolve", f"web.prod:{DIGITS}"), "a port number lies between 1 and 65535"),
        (("resolve", LONG), "not a DNS label"),
        (("resolve", f"static:10.0.0.1:{DIGITS}"), "a port number lies between 1 and 65535"),
        (("resolve", "static:localhost:80"), "write 127.0.0.1"),
        (("resolve", "http://web-headless.prod:8080"), "write web-headless.prod:8080"),
        (("resolve", "web\x1b[31m.prod:80"), "not a DNS label"),
        (("resolve", "web\n.prod:80"), "no spaces"),
        (("resolve", ""), "expected a service's name"),
        (("resolve", "web.prod:80", "--nameserver", f"10.0.0.1:{DIGITS}"), "between 1 and 65535"),
        (("resolve", "web.prod:80", "--nameserver", LONG), "is no IP address"),
        (("resolve", "web.prod:80", "--nameserver", ""), "is no IP address"),
        (("resolve", "web:80", "--namespace", LONG), "DNS(namespace=…)"),
        (("resolve", "web.prod:80", "--cluster-domain", LONG), "DNS(cluster_domain=…)"),
        (("resolve", "web.prod:80", "--timeout", "nan"), "expected a number of seconds above 0"),
        (("resolve", "web.prod:80", "--timeout", "1e400"), "expected a number of seconds above 0"),
        (("resolve", "web.prod:80", "--timeout", LONG), "expected a number of seconds above 0"),
        (("wait", "web.prod:80", "--min", DIGITS), "expected a number of pods"),
        (("wait", "web.prod:80", "--min", "٣"), "expected a number of pods"),
        (("watch", "web.prod:80", "--exec", LONG), "no such command"),
        (("resolve", "web.prod:80", "--family", LONG), "invalid choice"),
        ((LONG,), "invalid choice"),
    ],
    ids=lambda given: " ".join(given)[:60] if isinstance(given, tuple) else "",
)
def test_odd_arguments_give_one_clear_line(arguments: tuple[str, ...], text: str) -> None:
    """Beside the usage of a command, which argparse puts above the line."""
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    usage, _, error = done.stderr.rpartition("peerdiscover: " if "usage:" not in done.stderr else "error: ")
    assert usage == "" or usage.startswith("usage: peerdiscover")
    assert text in error
    assert len(error.splitlines()) == 1
    assert len(error) < 1000
    assert error.rstrip("\n").isprintable()


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
