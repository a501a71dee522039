"""The checks' texts: docs/doctor.md has what `--explain` shows, and codes never go."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from peerdiscover.doctor._api import KINDS
from peerdiscover.doctor._codes import CHECKS, page
from peerdiscover.doctor._report import CHECKS_OF_MANIFESTS, NEEDS, code_of

from . import test_manifests, test_names
from ._objects import Json, codes

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "doctor.md").read_text()
BLOCK = re.compile(r"(?:<!-- doctor: (.*?) -->\n)?^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
"""A comment before a block names the codes that it shows."""
RELEASED = [
    *("PD101", "PD102", "PD103", "PD104", "PD105", "PD106", "PD107", "PD108", "PD109"),
    *("PD201", "PD202", "PD203", "PD204", "PD205"),
    *("PD301", "PD302", "PD303", "PD304", "PD305", "PD306", "PD307", "PD308"),
    *("PD401", "PD402", "PD403", "PD404", "PD501"),
]
"""A code stays for ever: only add to these."""


def test_the_document_has_a_heading_for_each_check_and_its_words() -> None:
    checks = DOCUMENT.partition("# The 27 checks\n\n")[2]
    assert checks == "\n".join(map(page, CHECKS))


def test_no_code_is_missing() -> None:
    assert list(CHECKS) == RELEASED


def test_each_check_of_manifests_knows_what_it_needs() -> None:
    assert {code_of(check) for check in CHECKS_OF_MANIFESTS} == NEEDS.keys() <= CHECKS.keys()


def test_each_code_is_made_by_a_test() -> None:
    """In a table, or by these, each of which has a test of its own in test_names.py."""
    made = {code for code, _, _ in test_manifests.MADE.values()}
    made |= {code for _, _, expected in test_names.MADE for code in expected}
    assert made | {"PD204", "PD307", "PD404"} == set(CHECKS)


def test_each_code_is_made_on_the_control_plane() -> None:
    """As an object of the table there, or in a test of its own; they say what is found beside it."""
    folder = ROOT / "tests" / "integration" / "kubernetes"
    text = "".join(path.read_text() for path in folder.glob("test_doctor*.py"))
    made = set(re.findall(r'"(PD\d{3})": "(?:error|warning)"', text)) | {"PD404"}  # which is a note
    made |= {code for mistake, (code, _, _) in test_manifests.MADE.items() if f'    "{mistake}",\n' in text}
    assert made == CHECKS.keys()


SHORT = {
    "svc": "Service", "sts": "StatefulSet", "deploy": "Deployment", "ds": "DaemonSet", "job": "Job",
    "cj": "CronJob", "po": "Pod", "netpol": "NetworkPolicy", "endpointslices": "EndpointSlice",
    "sa": "ServiceAccount", "role": "Role", "rolebinding": "RoleBinding",
}  # fmt: skip
"""What kubectl calls the kinds."""


def test_who_lends_rights_lends_all_that_is_read() -> None:
    """Else the same objects would show less offline than by asking."""
    (kinds,) = re.findall(r"^kubectl get (\S+) -n prod -o json", DOCUMENT, re.MULTILINE)
    assert {SHORT[kind] for kind in kinds.split(",")} == KINDS.keys()


def blocks() -> list[object]:
    return [
        pytest.param(
            match[2], (match[1] or "").split(), id=f"{path.name}:{text.count(chr(10), 0, match.start())}"
        )
        for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
        for text in [path.read_text()]
        for match in BLOCK.finditer(text)
    ]


@pytest.mark.parametrize(("text", "shown"), blocks())
def test_manifests_in_documents_are_clean_or_say_what_they_show(text: str, shown: list[str]) -> None:
    objects: list[Json] = [one for one in yaml.safe_load_all(text) if isinstance(one, dict)]
    assert codes(objects) == shown


EXAMPLES = sorted((ROOT / "examples" / "manifests").glob("*.yaml"))
SHOWN = {"trap.yaml": ["PD303", "PD304"]}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example_manifests(path: Path) -> None:
    objects: list[Json] = list(yaml.safe_load_all(path.read_text()))
    assert codes(objects) == SHOWN.get(path.name, [])
