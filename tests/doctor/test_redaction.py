"""An API server that sends the token back: doctor shows it nowhere."""

from __future__ import annotations

import pytest

from peerdiscover.doctor import _api
from peerdiscover.sources.environment import Environment
from peerdiscover.sources.kubernetes._config import ClusterConfig
from tests.sources.kubernetes.test_drivers import Fake, says, whole
from tests.waiting import LONG

TOKEN = "s3cr3t-5e7a.abc_def"
ECHO = f"\x1b[31mheaders: Host: x, X-Authorization: {TOKEN}, Authorization: Bearer {TOKEN}"
STATUS = {"message": ECHO, "items": [{"metadata": {"name": ECHO}}]}


@pytest.mark.parametrize(
    ("response", "shown"),
    [
        (whole("403 Forbidden", STATUS), "may not be listed"),
        (whole("500 Oops", STATUS), "headers: Host: x, X-Authorization: <hidden>"),
        (whole("200 OK", STATUS), "<hidden>"),
        (f"HTTP/1.1 200 OK\r\n\x01{ECHO}\r\n\r\n".encode(), "illegal header line"),
    ],
    ids=["403", "500", "200", "broken"],
)
def test_the_token_is_not_shown(monkeypatch: pytest.MonkeyPatch, response: bytes, shown: str) -> None:
    with Fake(says(response)) as fake:
        config = ClusterConfig(fake.url, "this test", token=TOKEN)
        monkeypatch.setattr(_api, "find_cluster", lambda **_: config)
        objects, refused = _api.read_namespace(Environment({}), "prod", "web", LONG)
    assert f"authorization: bearer {TOKEN}" in fake.heads[0], "it was sent"
    told = f"{objects} {objects.unread} {refused}"
    assert shown in told
    assert TOKEN not in told
    assert all(text.isprintable() for text in objects.unread.values())
