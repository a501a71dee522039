"""What a person may put into `doctor -f`: each is read, or is one line that says what to do."""

from __future__ import annotations

import io
import json
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from peerdiscover.cli import main
from peerdiscover.doctor._objects import Objects
from peerdiscover.doctor._reading import MAX_BYTES, read
from peerdiscover.doctor._report import Report, of_manifests
from peerdiscover.errors import ConfigurationError
from peerdiscover.names import ServiceName

from ._objects import Json, Manifests, findings, world_of
from .test_manifests import slice_of

SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {clusterIP: None}\n"


@pytest.fixture(autouse=True, params=["C", "Python"])
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyYAML's parser in C is not in every build of it."""
    if request.param == "Python":
        monkeypatch.delattr(yaml, "CSafeLoader")


def written(folder: Path, text: str | bytes, name: str = "web.yaml") -> str:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def refusal(path: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read([path])
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(path)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: [1, 2\nb: 3\n", ":2: no YAML: "),
        ("a: b: c", ":1: no YAML: mapping values are not allowed"),
        ("kind: Service\nspec: {{ .Values.spec }}", ": a Helm template: give `helm template`'s output"),
        ("{{- if .Values.on }}\nkind: Service\n{{- end }}", ": a Helm template"),
        ("kind: {{ .kind }}\nmetadata: {{- toYaml . }}", ": a Helm template"),
        ("!!python/object/apply:os.system ['true']", ":1: no YAML: could not determine a constructor"),
        ("replicas: 3\n", ": no manifest in it"),
        ("", ": no manifest in it"),
        (b"\xff\xfe\x00", ": no text in UTF-8"),
        ("[" * 100_000, ": nested too deeply"),
        ("a: *b", ":1: no YAML: "),
        ("\x00", ": no YAML: "),
        ("#" * (MAX_BYTES + 1), ": more than 10,000,000 bytes; give a part of it"),
    ],
)
def test_what_cannot_be_read_is_one_line(
    tmp_path: Path, text: str | bytes, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, text)
    assert refusal(path).startswith(why)
    for output in "text", "json", "sarif":
        assert main(["doctor", "-f", path, "-o", output]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert f"{path}{why}" in err
        assert len(err.splitlines()) == 1


def test_paths_without_manifests(tmp_path: Path) -> None:
    assert refusal(str(tmp_path / "none.yaml")) == ": No such file or directory"
    assert refusal(str(tmp_path)) == ": no manifest in this folder (*.yaml, *.yml, *.json)"
    assert refusal(written(tmp_path, '{"kind": ', "x.json")).startswith(": no JSON: ")


def test_several_documents_lists_and_folders(tmp_path: Path) -> None:
    listed = "apiVersion: v1\nkind: List\nitems:\n- kind: Service\n  metadata: {name: a}\n- kind: Pod\n"
    written(tmp_path, f"# a comment\n{SERVICE}---\n---\nnull\n---\nreplicas: 3\n---\n{listed}")
    (tmp_path / "more").mkdir()
    written(tmp_path / "more", json.dumps({"kind": "List", "items": [{"kind": "Job"}]}), "x.json")
    written(tmp_path, "kind: Service", "x.txt")
    found = read([str(tmp_path)])
    assert [(one["kind"], line) for one, _, line in found] == [
        ("Job", 1),
        ("Service", 2),
        ("Service", 15),
        ("Pod", 17),
    ]


def test_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(SERVICE.encode())))
    ((service, file, line),) = read(["-"])
    assert (service["kind"], file, line) == ("Service", "stdin", 1)


def test_json_needs_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, yaml.safe_dump(Manifests().service))
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert (
        refusal(path) == ": reading YAML needs PyYAML: pip install 'peerdiscover[cli]' (JSON needs nothing)"
    )
    assert read([written(tmp_path, json.dumps(Manifests().service), "x.json")])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("&a {b: 1}", {"b": 1}),
        ("{x: &a {b: 1, c: 1}, y: {<<: *a, c: 2}}", {"x": {"b": 1, "c": 1}, "y": {"b": 1, "c": 2}}),
        ("{x: &a {b: 1}, z: &c {b: 2}, y: {<<: [*a, *c]}}", {"x": {"b": 1}, "z": {"b": 2}, "y": {"b": 1}}),
        ("{y: {'<<': 1}}", {"y": {"<<": 1}}),
        ("[2026-11-29, =, <<, 0x10, 1e3, yes, ~]", ["2026-11-29", "=", "<<", 16, "1e3", True, None]),
        ("['8080', 8080, \"None\", None, !!str 1]", ["8080", 8080, "None", "None", "1"]),
        ("!!map {a: !!seq [1]}", {"a": [1]}),
    ],
)
def test_values_are_those_of_kubernetes(tmp_path: Path, text: str, value: object) -> None:
    ((read_as, _, line),) = read([written(tmp_path, f"\nkind: Service\nspec: {text}\n")])
    assert (read_as["spec"], line) == (value, 2)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: {<<: 1}", ":1: no YAML: expected a mapping or list of mappings for merging"),
        ("a: {[1]: 2}", ":1: no YAML: found unhashable key"),
        ("a: !!set {b}", ":1: no YAML: could not determine a constructor"),
        ("a: !!int b", ":1: no YAML: a scalar is not of its type, int"),
        ('a:\n- !!int ""', ":2: no YAML: a scalar is not of its type, int"),
        ('a: !!float ""', ":1: no YAML: a scalar is not of its type, float"),
        ("a: !!bool b", ":1: no YAML: a scalar is not of its type, bool"),
        ("[1]: " + "[" * 900, ""),
        ("a: " + "[" * 100_000, ""),
    ],
)
def test_odd_values_are_one_line(tmp_path: Path, text: str, why: str) -> None:
    assert refusal(written(tmp_path, text)).startswith(why)


def test_what_merges_copy_is_counted(tmp_path: Path) -> None:
    """Squares of the text, and powers of it."""
    pairs = ", ".join(f"k{n}: 1" for n in range(2000))
    square = f"kind: Service\nb: &b {{{pairs}}}\nx:\n" + "- {<<: *b}\n" * 2000
    assert refusal(written(tmp_path, square)).endswith(
        ": no YAML: merges (<<) copy more than 1,000,000 pairs"
    )
    power = "\n".join(f"l{n}: &l{n} {{<<: [{', '.join([f'*l{n - 1}'] * 9)}]}}" for n in range(1, 30))
    assert read([written(tmp_path, f"kind: Service\nl0: &l0 {{a: 1}}\n{power}\n")])


def test_aliases_are_followed_and_never_copied(tmp_path: Path) -> None:
    laughs = "\n".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 30))
    text = f"kind: Service\nl0: &l0 [1]\n{laughs}\nspec: {{clusterIP: None, ports: *l29}}\n"
    found = read([written(tmp_path, text)])
    assert [one.is_headless for one in Objects.of(found).all] == [True]
    recursive = "kind: Service\nmetadata: &m {name: web, annotations: *m}\nspec: &s {selector: *s}\n"
    assert Objects.of(read([written(tmp_path, recursive)])).all


@pytest.mark.parametrize(
    ("written_as", "is_headless"),
    [("None", True), ('"None"', True), ('""', False), ("null", False), ("", False)],
)
def test_the_words_of_cluster_ip(tmp_path: Path, written_as: str, is_headless: bool) -> None:
    text = f"kind: Service\nmetadata: {{name: web}}\nspec: {{clusterIP: {written_as}}}\n"
    (service,) = Objects.of(read([written(tmp_path, text)])).all
    assert service.is_headless == is_headless


def test_no_cluster_ip_is_not_the_word_none(tmp_path: Path) -> None:
    (service,) = Objects.of(read([written(tmp_path, "kind: Service\nmetadata: {name: web}\nspec: {}\n")])).all
    assert not service.is_headless


@pytest.mark.parametrize(("given", "namespace"), [(None, "prod"), ("stage", "stage")])
def test_objects_without_a_namespace(given: str | None, namespace: str) -> None:
    m = Manifests()
    del m.statefulset["metadata"]["namespace"]
    found = Objects.of([(one, None, None) for one in m.all], given)
    assert {one.kind: one.namespace for one in found.all}["StatefulSet"] == namespace


def odd(value: object) -> list[Json]:
    """Good manifests with a value of the wrong type in each field that a check reads."""

    def spoil(data: Json, key: str) -> Json:
        return {**data, key: value}

    m = Manifests()
    spoiled = [spoil(m.service, key) for key in ("spec", "metadata")]
    for part in m.service, m.statefulset, m.policy:
        spoiled += [{**part, "spec": spoil(part["spec"], key)} for key in part["spec"]]
    for key in "name", "port", "targetPort", "protocol":
        ports = [{"name": "http", "port": 8080, key: value}, {"name": "http", "port": 8080, key: value}]
        spoiled.append({**m.service, "spec": spoil(m.service["spec"], "ports") | {"ports": ports}})
        for part, rules in (m.policy, "ingress"), (m.policy, "egress"):
            spoiled.append({**part, "spec": part["spec"] | {rules: [{"ports": ports}]}})
        slices = {
            **slice_of("http"),
            "ports": ports,
            "endpoints": [{"conditions": value, "addresses": value}],
        }
        spoiled.append(slices)
    for key in m.container:
        template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [spoil(m.container, key)]}}
        spoiled.append({**m.statefulset, "spec": {**m.statefulset["spec"], "template": template}})
    for key in "command", "args", "env", "ports":
        template = {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", key: value}]},
        }
        spoiled.append({**m.statefulset, "spec": {**m.statefulset["spec"], "template": template}})
    for kind in (
        "Role",
        "RoleBinding",
        "EndpointSlice",
        "Job",
        "CronJob",
        "Pod",
        "ServiceAccount",
        "Deployment",
    ):
        spoiled += [
            {"kind": kind, "metadata": {"name": "x"}, key: value} for key in ("spec", "rules", "subjects")
        ]
        spoiled.append({"kind": kind, "metadata": value})
    return spoiled


@pytest.mark.parametrize(
    "value", [None, 0, "8080", [], [None, 1, "x", []], {}, {"a": []}, True, 1.5, [[]], [{}]]
)
def test_values_of_the_wrong_type_end_in_no_traceback(value: object) -> None:
    m = Manifests()
    for one in odd(value):
        for name in None, "web-headless.prod:http":
            findings([one], name)
            findings([one, *m.all], name)
            findings([*m.all, one], name)


@pytest.mark.parametrize("field", ["protocol", "port"])
def test_a_port_beside_an_odd_one_is_mended(field: str) -> None:
    m = Manifests()
    ports = m.service["spec"]["ports"]
    ports[0]["port"] = 80
    ports[1][field] = [{}]
    (finding,) = (one for one in findings(m.all) if one.code == "PD303")
    assert "'port': 8080" in str(finding.change)


def test_ports_as_strings_are_said_to_be_none() -> None:
    m = Manifests()
    m.service["spec"]["ports"][0]["port"] = "80"
    report = Report()
    of_manifests(report, world_of(m.all))
    assert not report.findings
    (missing,) = report.missing
    assert missing.codes == ("PD302", "PD303", "PD304")
    assert missing.why.startswith("Service prod/web-headless: a port of it is no number")


def test_a_wait_with_odd_words_is_read() -> None:
    """An empty word, and a number that Python refuses to read."""
    for words in ["wait", "", "web-headless:http"], ["wait", "web-headless:http", "--min", "9" * 5000]:
        m = Manifests()
        m.container["command"] = ["sh", "-c", shlex.join(["peerdiscover", *words])]
        assert [one.code for one in findings(m.all)] == ["PD403"]


def test_addresses_of_an_endpoint_that_are_none() -> None:
    world = world_of([{**slice_of("http"), "endpoints": [{"addresses": 8080}, {"addresses": ["10.0.0.1"]}]}])
    world.name, world.namespace = ServiceName.parse("web-headless.prod:http"), "prod"
    assert world.ready == frozenset({"10.0.0.1"})


def test_services_that_all_select_all_workloads_are_looked_at_in_time() -> None:
    """As many pairs as the square of the objects, and no cube: none of these is looked up by a search."""
    m = Manifests()
    for number in range(200):
        m.copy_of(m.service, f"web-{number}")
        m.copy_of(m.statefulset, f"web-{number}", serviceName=f"web-{number}")
        m.copy_of(m.policy, f"web-{number}")
    assert findings(m.all) == []
