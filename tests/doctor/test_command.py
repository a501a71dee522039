"""The command: exit statuses, the three outputs, and what a terminal gets."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from peerdiscover.doctor._codes import CHECKS, page
from peerdiscover.doctor._reading import MAX_BYTES
from tests.cli.running import COMMAND, SECONDS, environment, run
from tests.cli.test_terminal import ESCAPE, WITHOUT_RICH, on_a_terminal

from ._objects import Manifests

MANIFESTS = Path(__file__).parents[2] / "examples" / "manifests"
TRAP = str(MANIFESTS / "trap.yaml")
RIGHT = str(MANIFESTS / "right.yaml")

STRING = {"type": "string"}
MAYBE = {"type": ["string", "null"]}
CODE = {"enum": list(CHECKS)}


def exactly(**properties: object) -> dict[str, object]:
    keys = list(properties)
    return {"type": "object", "properties": properties, "required": keys, "additionalProperties": False}


def many(items: object) -> dict[str, object]:
    return {"type": "array", "items": items}


OURS = exactly(
    name=MAYBE,
    asked_from=MAYBE,
    findings=many(
        exactly(
            code=CODE,
            level={"enum": ["error", "warning", "note"]},
            title=STRING,
            object=STRING,
            seen=STRING,
            why=STRING,
            change=STRING,
            file=MAYBE,
            line={"type": ["integer", "null"], "minimum": 1},
        )
    ),
    not_checked=many(exactly(codes={**many(CODE), "minItems": 1}, why=STRING)),
    passed=many(CODE),
)
MESSAGE = {"type": "object", "required": ["text"], "properties": {"text": STRING}}
SARIF = {
    # What SARIF 2.1.0 requires of the parts that are written, and what code hosts need of them.
    "type": "object",
    "required": ["version", "runs", "$schema"],
    "properties": {
        "version": {"const": "2.1.0"},
        "runs": many(
            {
                "type": "object",
                "required": ["tool", "results"],
                "properties": {
                    "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
                    "tool": {
                        "type": "object",
                        "required": ["driver"],
                        "properties": {
                            "driver": {
                                "type": "object",
                                "required": ["name", "rules"],
                                "properties": {
                                    "rules": many(
                                        {
                                            "type": "object",
                                            "required": ["id", "shortDescription"],
                                            "properties": {"shortDescription": MESSAGE, "help": MESSAGE},
                                        }
                                    )
                                },
                            }
                        },
                    },
                    "results": many(
                        {
                            "type": "object",
                            "required": ["ruleId", "ruleIndex", "level", "message", "locations"],
                            "properties": {
                                "level": {"enum": ["none", "note", "warning", "error"]},
                                "message": MESSAGE,
                                "locations": {
                                    "type": "array",
                                    "minItems": 1,
                                    "items": {
                                        "type": "object",
                                        "required": ["physicalLocation"],
                                        "properties": {
                                            "physicalLocation": {
                                                "type": "object",
                                                "required": ["artifactLocation", "region"],
                                                "properties": {
                                                    "region": {
                                                        "required": ["startLine"],
                                                        "properties": {"startLine": {"minimum": 1}},
                                                    }
                                                },
                                            }
                                        },
                                    },
                                },
                            },
                        }
                    ),
                },
            }
        ),
    },
}


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
        (["--ignore", "PD1", "-f", TRAP], "'PD1': no such check"),
        ([], "expected a NAME"),
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


def test_sarif(wrong: str) -> None:
    for path in RIGHT, TRAP, wrong:
        written = json.loads(run("doctor", "-f", path, "-o", "sarif").stdout)
        jsonschema.validate(written, SARIF)
        (only,) = written["runs"]
        ids = [rule["id"] for rule in only["tool"]["driver"]["rules"]]
        assert [ids[one["ruleIndex"]] for one in only["results"]] == [
            one["ruleId"] for one in only["results"]
        ]
        places = {
            one["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for one in only["results"]
        }
        assert places <= {path}


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
