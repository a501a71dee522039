"""Every Python block of README.md and docs/ is run, and every link inside the project leads somewhere.

A block may use what its text says is there: `web`, an entered discovery of `web-headless.prod:8080`
(an `AsyncDiscovery` if the block awaits). Functions named `test_…` are called, as pytest does; a block with
fixtures is run by pytest. An `app` gets a request for /hello, as its server would pass it on, and
`on_startup` and `on_shutdown` are called, each in a task of its own.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import Application

from peerdiscover import AsyncDiscovery, Discovery
from peerdiscover.http import Client
from peerdiscover.testing import HeadlessService

ROOT = Path(__file__).parents[2]
README, TUTORIAL = ROOT / "README.md", ROOT / "docs" / "tutorial.md"
DOCUMENTS = [README, *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CONSOLE = re.compile(r"^\$ (peerdiscover resolve (.*))\n((?:(?!\$|```).+\n)+)", re.MULTILINE)
PODS = ["10.244.0.10", "10.244.0.9", "10.244.0.11"]
FRAMEWORKS = ("fastapi", "flask", "opentelemetry.instrumentation.httpx")  # used by documents alone
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


def blocks() -> list[Any]:
    found = []
    for document in DOCUMENTS:
        text = document.read_text()
        for match in BLOCK.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            found.append(pytest.param(document, line, match[1], id=f"{document.name}:{line}"))
    return found


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[HeadlessService]:
    """The service of the documents, as a pod's environment describes it: by DNS alone."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with HeadlessService("web-headless.prod", replicas=3, ports={"http": 8080}) as svc:
        monkeypatch.setenv("PEERDISCOVER_NAMESERVERS", svc.nameserver)
        monkeypatch.setenv("PEERDISCOVER_NAMESPACE", "prod")
        monkeypatch.setenv("PEERS", "web-headless.prod:8080")
        yield svc


def run(code: Any, names: dict[str, Any]) -> None:
    """Run a block, with what it may use."""
    service = "web-headless.prod:8080"
    if code.co_flags & inspect.CO_COROUTINE:

        async def awaited() -> None:
            async with AsyncDiscovery(service) as web:
                names["web"] = web
                await eval(code, names)

        asyncio.run(awaited())
    else:
        with Discovery(service) as web:
            names["web"] = web
            exec(code, names)


@pytest.mark.parametrize(("document", "line", "text"), blocks())
def test_block_runs(
    document: Path,
    line: int,
    text: str,
    cluster: HeadlessService,
    headless_service: Callable[..., HeadlessService],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": f"{document.stem}_{line}"}
    code = compile(
        "\n" * line + text, str(document), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True
    )
    for module in FRAMEWORKS:
        if f"from {module} import" in text:
            pytest.importorskip(module, reason=f"{module} is not installed: pip install '.[test]'")
    if "@pytest.fixture" in text:
        (tmp_path / "test_block.py").write_text(text)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert result.returncode == 0, result.stdout + result.stderr
        return
    run(code, names)
    if "on_startup" in names:
        asyncio.run(start_and_shut_down(names["on_startup"], names["on_shutdown"]))
    if "app" in names:
        assert hello_from(names["app"])["pod"] in {"web-0", "web-1", "web-2"}
    if isinstance(names.get("pods"), Client):  # of a module: a program keeps it open
        names["pods"].close()
    for name, value in list(names.items()):
        if name.startswith("test_"):
            value(headless_service)


async def start_and_shut_down(*hooks: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Frameworks call their hooks in whatever task they have."""
    for hook in hooks:
        await asyncio.create_task(hook())


def hello_from(app: Any) -> Any:
    """What the application answers to GET /hello: Flask, aiohttp, or ASGI with its lifespan."""
    if hasattr(app, "test_client"):
        return app.test_client().get("/hello").get_json()

    async def served_by_aiohttp() -> Any:
        async with TestClient(TestServer(app)) as client:
            return await (await client.get("/hello")).json()

    if isinstance(app, Application):
        return asyncio.run(served_by_aiohttp())

    async def served() -> Any:
        async with app.router.lifespan_context(app) as state:

            async def with_state(scope: Any, receive: Any, send: Any) -> None:
                await app({**scope, "state": dict(state or {})}, receive, send)

            transport = httpx.ASGITransport(with_state)
            async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
                return (await client.get("/hello")).json()

    return asyncio.run(served())


def test_readme_shows_code_early() -> None:
    first = BLOCK.search(README.read_text())
    assert first is not None
    assert README.read_text().count("\n", 0, first.end()) < 40


def test_readme_stays_short() -> None:
    assert len(README.read_text().splitlines()) <= 180


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    missing = [link for link in LINK.findall(document.read_text()) if not (document.parent / link).exists()]
    assert not missing


def test_manifests_differ_where_the_tutorial_says() -> None:
    trap, right = (
        re.sub(r"(?m)^#.*\n", "", (ROOT / "examples" / "manifests" / f"{name}.yaml").read_text())
        for name in ("trap", "right")
    )
    assert trap.count("targetPort: 8080") == 2
    assert trap.replace("targetPort: 8080", "targetPort: 80") == right


def classic() -> list[Any]:
    """What the tutorial shows of the classic example: command, output, and the targetPort of that moment."""
    text = TUTORIAL.read_text()
    mended = text.index("is the same with `targetPort: 80`")
    return [
        pytest.param(
            m[2],
            m[3],
            8080 if m.start() < mended else 80,
            id=f"{m[2]} at line {text.count(chr(10), 0, m.start()) + 1}",
        )
        for m in CONSOLE.finditer(text)
    ]


@pytest.mark.parametrize(("name", "shown", "target_port"), classic())
def test_classic_example_is_shown_as_it_is(name: str, shown: str, target_port: int) -> None:
    """The output was taken from a real cluster; the embedded server stands in for it here."""
    if name.startswith("regular-svc"):
        vip = "10.96.218.115"
        svc = HeadlessService(
            "regular-svc.moon",
            1,
            {"": 80},
            hostnames=False,
            kind="cluster-ip",
            pods=False,
            addresses=[PODS[0], vip],
        )
    else:
        svc = HeadlessService(
            "headless-svc.moon", 3, {"": target_port}, hostnames=False, pods=False, addresses=PODS
        )
    with svc:
        result = subprocess.run(
            [sys.executable, "-m", "peerdiscover", "resolve", name, "--nameserver", svc.nameserver],
            capture_output=True,
            text=True,
            timeout=30,
        )
    assert result.stdout + result.stderr == shown
