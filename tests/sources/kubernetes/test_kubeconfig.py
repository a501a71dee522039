"""Kubeconfigs as kubectl writes them, as people edit them, and broken ones."""

from __future__ import annotations

import json
import subprocess
import sys
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from peerdiscover.errors import ConfigurationError
from peerdiscover.sources.kubernetes._config import find_cluster
from peerdiscover.sources.kubernetes._kubeconfig import read_kubeconfig

SECRET = "canary-77b1"
PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
DATA = b64encode(PEM.encode()).decode()

WRITTEN_BY_KUBECTL = f"""\
apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: {DATA}
    server: https://10.0.0.1:6443
  name: kind
- cluster:
    certificate-authority: pki/ca.crt
    server: https://10.0.0.2:6443
    tls-server-name: api.internal
  name: other
contexts:
- context:
    cluster: kind
    user: kind
  name: kind
- context:
    cluster: other
    namespace: prod
    user: other
  name: other
current-context: other
kind: Config
preferences: {{}}
users:
- name: kind
  user:
    client-certificate-data: {DATA}
    client-key-data: {DATA}
- name: other
  user:
    tokenFile: /run/token
"""


def config(cluster: object = None, user: object = None, **rest: Any) -> dict[str, Any]:
    """A kubeconfig with one context; `rest` replaces its parts."""
    return {
        "current-context": "c",
        "clusters": [{"name": "k", "cluster": cluster or {"server": "https://10.0.0.1:6443"}}],
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "users": [{"name": "u", "user": {"token": SECRET} if user is None else user}],
        **rest,
    }


def written(folder: Path, content: object, name: str = "config") -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def refused(path: Path, **options: Any) -> str:
    """The error's text: it names the file, and shows no secret."""
    with pytest.raises(ConfigurationError) as raised:
        read_kubeconfig([path], **options)
    assert str(path) in str(raised.value)
    assert SECRET not in str(raised.value)
    return str(raised.value)


def test_a_file_as_kubectl_writes_it(tmp_path: Path) -> None:
    path = written(tmp_path, WRITTEN_BY_KUBECTL)
    found = read_kubeconfig([path])
    assert found.server == "https://10.0.0.2:6443"
    assert found.ca is not None
    assert found.ca.path == tmp_path / "pki" / "ca.crt", "relative to the file"
    assert found.ca.where == str(tmp_path / "pki" / "ca.crt")
    assert found.tls_server_name == "api.internal"
    assert found.token_file == Path("/run/token")
    assert found.namespace == "prod"
    assert found.origin == f"context 'other' of {path}"

    path = written(tmp_path, WRITTEN_BY_KUBECTL.replace("current-context: other", "current-context: kind"))
    found = read_kubeconfig([path])
    assert found.server == "https://10.0.0.1:6443"
    assert found.ca is not None
    assert found.certificate is not None
    assert found.key is not None
    assert [found.ca.text, found.certificate.text, found.key.text] == [PEM, PEM, PEM]
    assert found.key.where == f"client-key-data of user 'kind' in {path}"
    assert (found.token, found.token_file, found.namespace, found.tls_server_name) == (None,) * 4


def test_json_wants_no_yaml(tmp_path: Path) -> None:
    path = written(tmp_path, config())
    program = """
import sys
sys.modules["yaml"] = None  # as where PyYAML is not installed
from pathlib import Path
from peerdiscover.sources.kubernetes._kubeconfig import read_kubeconfig
for path in sys.argv[1:]:
    try:
        print(read_kubeconfig([Path(path)]).server)
    except ValueError as error:
        print(error)
"""
    in_yaml = written(tmp_path, WRITTEN_BY_KUBECTL, "in-yaml")
    shown = subprocess.run(
        [sys.executable, "-c", program, path, in_yaml], capture_output=True, text=True, timeout=60, check=True
    )
    json_line, yaml_line = shown.stdout.splitlines()
    assert json_line == "https://10.0.0.1:6443"
    assert yaml_line.startswith(f"{in_yaml}: ")
    assert "pip install 'peerdiscover[kubeconfig]'" in yaml_line


def test_mappings_in_braces_may_be_yaml(tmp_path: Path) -> None:
    text = json.dumps(config()).replace('"current-context"', "current-context")
    assert read_kubeconfig([written(tmp_path, text)]).token == SECRET


def test_several_files_are_merged_and_the_first_wins(tmp_path: Path) -> None:
    first = written(
        tmp_path,
        {
            "clusters": [
                {"name": "k", "cluster": {"server": "https://first:1", "certificate-authority": "ca"}}
            ]
        },
        "one/first",
    )
    second = written(
        tmp_path, config({"server": "https://second:1"}, contexts=None, users=None), "two/second"
    )
    third = written(
        tmp_path, config({"server": "https://third:1"}, **{"current-context": "x"}), "three/third"
    )
    found = read_kubeconfig([tmp_path / "missing", first, second, third])
    assert found.server == "https://first:1"
    assert found.ca is not None
    assert found.ca.path == first.parent / "ca", "relative to the file that has it"
    assert found.token == SECRET
    assert found.origin == f"context 'c' of {third}"


def test_a_relative_path_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, config({"server": "https://a:1", "certificate-authority": "ca"}))
    monkeypatch.chdir(tmp_path)
    found = read_kubeconfig([Path("config")])
    assert found.ca is not None
    assert found.ca.path == tmp_path / "ca"


def test_a_token_file_counts_before_the_token_beside_it(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("of-the-file")
    path = written(tmp_path, config(user={"token": SECRET, "tokenFile": "token"}))
    access = find_cluster(kubeconfig=path)
    assert access.authorization(0.0) == "Bearer of-the-file"
    (tmp_path / "token").unlink()
    assert find_cluster(kubeconfig=path).authorization(0.0) == f"Bearer {SECRET}"


def test_data_counts_before_the_file_beside_it(tmp_path: Path) -> None:
    both = {"server": "https://a:1", "certificate-authority": "ca", "certificate-authority-data": DATA}
    found = read_kubeconfig([written(tmp_path, config(both))])
    assert found.ca is not None
    assert found.ca.text == PEM


def test_a_context_without_a_user_is_anonymous(tmp_path: Path) -> None:
    contexts = [{"name": "c", "context": {"cluster": "k"}}]
    path = written(tmp_path, config(contexts=contexts, users=None))
    assert find_cluster(kubeconfig=path).authorization(0.0) is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "no current-context"),
        ("{}", "no current-context"),
        ({"current-context": ""}, "kubectl config use-context"),
        ({"current-context": 1}, "current-context that is no text"),
        (config(contexts=None), "no context 'c', which current-context"),
        (config(clusters=[]), "no cluster 'k', which context 'c'"),
        (config(users=[{"name": "other", "user": {}}]), "no user 'u', which context 'c'"),
        (config(contexts=[{"name": "c", "context": {"user": "u"}}]), "context 'c' has no cluster"),
        (config(contexts=[{"name": "c"}]), "context 'c' has no cluster"),
        (config(contexts=[{"name": "c", "context": ["k"]}]), "context 'c' is no mapping"),
        (config({"certificate-authority": "ca"}), "cluster 'k' has no server"),
        (config(clusters={"k": {}}), "clusters is no list"),
        (config(users=[SECRET]), "users is no list"),
        (config(user={"token": 12345}), "user 'u' has a token that is no text"),
        (config({"server": ["https://a:1"]}), "cluster 'k' has a server that is no text"),
        ([config()], "no mapping"),
        (SECRET, "no mapping"),
        (f"a: b: {SECRET}\n", "line 1: neither YAML nor JSON"),
        (f"a:\n  - {SECRET}\n -\t*x", "neither YAML nor JSON"),
        (f"{{'{SECRET}", "neither YAML nor JSON"),
        ("when: 2024-99-99\n", "neither YAML nor JSON"),
        (f"!!python/object/apply:os.system ['echo {SECRET}']", "neither YAML nor JSON"),
        ("--- {}\n--- {}\n", "neither YAML nor JSON"),
        ('{"a":' * 100_000, "nested too deeply"),
    ],
)
def test_malformed_files(tmp_path: Path, content: object, said: str) -> None:
    assert said in refused(written(tmp_path, content))


@pytest.mark.parametrize(
    ("cluster", "said"),
    [
        ({"insecure-skip-tls-verify": True}, "always verified"),
        ({"proxy-url": "http://proxy:3128"}, "HTTPS_PROXY"),
        ({"certificate-authority-data": "%%%"}, "certificate-authority-data that is not PEM in base64"),
        ({"certificate-authority-data": b64encode(b"\xff").decode()}, "not PEM in base64"),
        ({"certificate-authority-data": "IA=="}, "empty certificate-authority-data"),
    ],
)
def test_clusters_that_are_refused(tmp_path: Path, cluster: dict[str, object], said: str) -> None:
    text = refused(written(tmp_path, config({"server": "https://a:1", **cluster})))
    assert "cluster 'k'" in text
    assert said in text


@pytest.mark.parametrize(
    ("user", "said"),
    [
        ({"exec": {"command": "aws-iam-authenticator"}}, "'aws-iam-authenticator'"),
        ({"exec": {"command": "gke-gcloud-auth-plugin"}}, "kubectl create token"),
        ({"exec": "x"}, "exec plug-in"),
        ({"auth-provider": {"name": "oidc"}}, "auth-provider plug-in 'oidc'"),
        ({"username": "me", "password": SECRET}, "user name and a password"),
        ({"token": SECRET, "as": "somebody"}, "impersonates"),
        ({"client-certificate-data": DATA}, "without its key"),
        ({"client-key": "key"}, "without its certificate"),
        (
            {"client-certificate-data": DATA, "client-key-data": f"{SECRET}!"},
            "client-key-data that is not PEM",
        ),
    ],
)
def test_users_that_are_refused(tmp_path: Path, user: dict[str, object], said: str) -> None:
    path = written(tmp_path, config(user=user))
    text = refused(path)
    assert "user 'u'" in text
    assert said in text
    given = find_cluster(kubeconfig=path, token="given")
    assert given.authorization(0.0) == "Bearer given", "with a token of one's own the user does not count"


def test_a_token_beside_a_plugin_is_enough(tmp_path: Path) -> None:
    path = written(tmp_path, config(user={"token": SECRET, "exec": {"command": "x"}}))
    assert read_kubeconfig([path]).token == SECRET


def test_a_token_that_is_none_is_not_shown(tmp_path: Path) -> None:
    path = written(tmp_path, config(user={"token": f"{SECRET}\nx"}))
    with pytest.raises(ConfigurationError, match="printable ASCII") as raised:
        find_cluster(kubeconfig=path)
    assert str(path) in str(raised.value)
    assert SECRET not in str(raised.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "missing")
    (tmp_path / "folder").mkdir()
    assert "cannot be read" in refused(tmp_path / "folder")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    assert "not UTF-8" in refused(tmp_path / "binary")
