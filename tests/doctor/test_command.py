"""The command: exit statuses, the three outputs, and what a terminal gets."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from jsonschema.validators import validator_for

from peerdiscover.doctor._codes import page
from peerdiscover.doctor._reading import MAX_BYTES
from tests.cli.running import COMMAND, SECONDS, environment, run
from tests.cli.test_terminal import ESCAPE, WITHOUT_RICH, on_a_terminal

from ._objects import Manifests

MANIFESTS = Path(__file__).parents[2] / "examples" / "manifests"
TRAP = str(MANIFESTS / "trap.yaml")
RIGHT = str(MANIFESTS / "right.yaml")

DOCUMENT = (Path(__file__).parents[2] / "docs" / "doctor.md").read_text()
OURS: dict[str, Any] = json.loads(DOCUMENT.partition("```json\n")[2].partition("```")[0])
"""The schema in docs/doctor.md."""
SARIF: dict[str, Any] = json.loads((Path(__file__).parent / "sarif" / "sarif-schema-2.1.0.json").read_text())
"""OASIS's own."""


@pytest.fixture
def wrong(tmp_path: Path) -> str:
    """A file with an error."""
    m = Manifests()
    m.service["spec"]["selector"] = {"app": "none"}
    path = tmp_path / "wrong.json"
    path.write_text(json.dumps({"kind": "List", "items": m.all}))
    return str(path)


def test_statuses(wrong: str) -> None:
    assert run("doctor", "-f", RIGHT, "--strict").returncode == 0
    assert run("doctor", "-f", TRAP).returncode == 0
    assert run("doctor", "-f", TRAP, "--strict").returncode == 1
    assert run("doctor", "-f", TRAP, "--strict", "--ignore", "PD303,pd304").returncode == 0
    assert run("doctor", "-f", wrong).returncode == 1


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["-f", "none.yaml"], "none.yaml: No such file or directory"),
        (
            ["-f", TRAP, "other.moon"],
            "these files have no such Service; they have regular-svc.moon, headless-svc",
        ),
        (["-f", TRAP, "http://x"], "a URL, not a service's name"),
        (["-f", TRAP, "static:10.0.0.1:80"], "doctor is for Services of a cluster"),
        (["--explain", "PD999"], "'PD999': no such check"),
        (["--explain", ","], "',': no such check"),
        (["-f", TRAP, "headless-svc.moon", "app"], "expected one NAME, got headless-svc.moon app"),
        (["--ignore", "PD1", "-f", TRAP], "'PD1': no such check"),
        ([], "expected a NAME"),
        (["deploy/web.yaml"], "'deploy/web.yaml': a file; write doctor -f deploy/web.yaml"),
        (["-o", "sarif", "web.prod"], "-o sarif is for -f"),
        (["-f", TRAP, "-n", "a.b"], "a namespace is one label"),
    ],
)
def test_bad_input_is_two_and_one_line(arguments: list[str], why: str) -> None:
    done = run("doctor", *arguments)
    assert done.returncode == 2
    assert why in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_explain() -> None:
    done = run("doctor", "--explain", "pd302")
    assert done.stdout == page("PD302")


def test_several_files_behind_one_option() -> None:
    """As a shell writes them for `-f deploy/*.yaml`; a NAME may follow."""
    many = [str(path) for path in sorted(MANIFESTS.glob("*.yaml")) if str(path) != RIGHT]
    done = run("doctor", "-f", *many, "headless-svc.moon", "--strict")
    assert done.stdout.startswith("1 headless Service and 1 workload in 3 files, ")
    assert done.returncode == 1


def test_json_has_the_same_keys_always(wrong: str) -> None:
    for path in RIGHT, TRAP, wrong:
        told = json.loads(run("doctor", "-f", path, "-o", "json").stdout)
        jsonschema.validate(told, OURS)
    said = json.loads(run("doctor", "-f", TRAP, "headless-svc.moon:80", "-o", "json").stdout)
    jsonschema.validate(said, OURS)
    assert said["name"] == "headless-svc.moon:80"
    line = Path(TRAP).read_text().splitlines().index("  name: headless-svc") - 2
    codes = ["PD106", "PD303", "PD304"]
    assert [(one["code"], one["line"]) for one in said["findings"]] == [(code, line) for code in codes]


def test_the_schemas_are_strict() -> None:
    for schema in OURS, SARIF:
        validator = validator_for(schema)
        validator.check_schema(schema)
        assert schema["additionalProperties"] is False
    assert OURS["required"] == list(OURS["properties"])
    finding = OURS["properties"]["findings"]["items"]
    assert finding["required"] == list(finding["properties"])


def sarif_of(path: str) -> list[dict[str, Any]]:
    """The results that are written of a file, after a look at the whole."""
    written = json.loads(run("doctor", "-f", path, "-o", "sarif").stdout)
    jsonschema.validate(written, SARIF)
    (only,) = written["runs"]
    rules = only["tool"]["driver"]["rules"]
    assert all(rule["shortDescription"]["text"] and rule["help"]["text"] for rule in rules)
    results: list[dict[str, Any]] = only["results"]
    assert [rules[one["ruleIndex"]]["id"] for one in results] == [one["ruleId"] for one in results]
    for one in results:
        assert one["level"] in ("note", "warning", "error")
        assert one["locations"][0]["physicalLocation"]["region"]["startLine"] >= 1
    return results


def place(result: dict[str, Any]) -> str:
    uri: str = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    return uri


def test_sarif(wrong: str) -> None:
    assert sarif_of(RIGHT) == []
    for path in TRAP, wrong:
        assert {place(one) for one in sarif_of(path)} == {Path(path).as_uri()}


def test_places_in_sarif_are_uris(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 3986 knows no spaces, and a scheme ends with a colon: SARIF 2.1.0, 3.10.1."""
    odd = tmp_path / "my: chart" / "trap 100%.yaml"
    odd.parent.mkdir()
    odd.write_text(Path(TRAP).read_text())
    monkeypatch.chdir(tmp_path)
    (uri,) = {place(one) for one in sarif_of("my: chart/trap 100%.yaml")}
    assert uri == "my%3A%20chart/trap%20100%25.yaml"
    (uri,) = {place(one) for one in sarif_of(str(odd))}
    assert uri == odd.as_uri()


def test_braces_in_sarif_are_no_placeholders(tmp_path: Path) -> None:
    """`{0}` stands for an argument in a message, so braces are doubled: SARIF 2.1.0, 3.11.5."""
    m = Manifests()
    m.service["spec"]["selector"] = {"app": "{0}"}
    path = tmp_path / "web.json"
    path.write_text(json.dumps(m.all))
    texts = [one["message"]["text"] for one in sarif_of(str(path))]
    assert "app: {{0}} selects nothing" in texts[0]


def test_the_text_fits_80_columns(wrong: str) -> None:
    for path in TRAP, wrong:
        out = run("doctor", "-f", path, "--all").stdout
        lines = [line for line in out.splitlines() if not line.startswith("  in ")]  # a path is not broken
        assert max(map(len, lines)) <= 80
    assert "FAIL PD301" in out
    assert ESCAPE not in out


def test_notes_are_shown_with_all(tmp_path: Path) -> None:
    m = Manifests()
    m.service["spec"].pop("ports")
    path = tmp_path / "web.json"
    path.write_text(json.dumps(m.all))
    assert "PD305" not in run("doctor", "-f", str(path)).stdout
    assert "note PD305" in run("doctor", "-f", str(path), "--all").stdout
    for output in "json", "sarif":
        assert "PD305" not in run("doctor", "-f", str(path), "-o", output).stdout
        assert "PD305" in run("doctor", "-f", str(path), "-o", output, "--all").stdout


def test_services_that_list_unready_pods_are_counted(tmp_path: Path) -> None:
    """No finding: most charts do so on purpose."""
    m = Manifests()
    path = tmp_path / "web.json"
    for unready, said in (
        (0, ""),
        (1, " (1 lists pods that are not ready)"),
        (2, " (2 list pods that are not ready)"),
    ):
        m.copy_of(m.service, f"web-{unready}", publishNotReadyAddresses=unready > 0)
        path.write_text(json.dumps(m.all))
        shown = " ".join(run("doctor", "-f", str(path)).stdout.split())
        assert (
            shown.partition(" and 1 workload in 1 file, ")[0].partition("Service")[2].removeprefix("s")
            == said
        )
        assert "PD307" not in shown


def test_a_manifest_is_read_from_stdin() -> None:
    done = subprocess.run(
        [COMMAND, "doctor", "-f", "-"],
        input=Path(TRAP).read_text(),
        capture_output=True,
        text=True,
        env=environment(),
        timeout=SECONDS,
    )
    assert done.stdout.startswith("1 headless Service and 1 workload in 1 file, ")
    assert "warn PD304" in done.stdout


def test_colours_on_a_terminal_alone() -> None:
    doctor = ("doctor", "-f", TRAP)
    program = "import sys; from peerdiscover.cli import main; sys.exit(main())"
    assert f"{ESCAPE}33m" in on_a_terminal(program, *doctor)
    assert f"{ESCAPE}33m" not in on_a_terminal(program, *doctor, NO_COLOR="1")
    without = on_a_terminal(WITHOUT_RICH + program, *doctor)
    assert ESCAPE not in without
    assert without == run(*doctor).stdout or "ok in" in without  # the seconds differ


def test_what_others_wrote_cannot_control_the_terminal(tmp_path: Path) -> None:
    m = Manifests()
    odd = "web\x1b]0;title\x07\nFAIL"
    m.service["metadata"]["name"] = odd
    m.service["spec"]["selector"] = {odd: odd}
    m.service["spec"]["ports"][0] |= {"targetPort": odd}
    path = tmp_path / "web.json"
    path.write_text(json.dumps(m.all))
    out = run("doctor", "-f", str(path), "--all").stdout
    assert "\x1b" not in out
    assert "\x07" not in out
    assert not any(line.startswith("FAIL") and "PD" not in line for line in out.splitlines())


def test_ten_megabytes_are_read(tmp_path: Path) -> None:
    """Of a whole cluster's objects: each looked at, within the time of any test."""
    many: list[Any] = []
    for number in range(1500):
        m = Manifests()
        name = f"web-{number}"
        for one in m.all:
            one["metadata"] |= {
                "name": name,
                "namespace": f"ns-{number % 50}",
                "annotations": {"x": "x" * 2900},
            }
        m.service["spec"]["selector"] = m.statefulset["spec"]["template"]["metadata"]["labels"] = {
            "app": name
        }
        m.statefulset["spec"]["serviceName"] = name
        many += m.all[:2]
    path = tmp_path / "all.json"
    path.write_text(json.dumps({"kind": "List", "items": many}))
    assert 9_000_000 < path.stat().st_size < MAX_BYTES
    done = run("doctor", "-f", str(path), "-o", "json")
    assert json.loads(done.stdout)["findings"] == []
