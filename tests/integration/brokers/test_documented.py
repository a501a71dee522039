"""docs/brokers.md and docs/benchmarks.md name the drivers that these tests run, with the lines that run."""

from __future__ import annotations

import re
from pathlib import Path

from ._rolling import clients_of

ROOT = Path(__file__).parents[3]
MODULES = [path for path in Path(__file__).parent.glob("_*.py") if "\nCLIENTS = {" in path.read_text()]
CLIENTS = [(server, client) for server, clients in map(clients_of, MODULES) for client in clients]


def table(document: str, mark: str) -> list[list[str]]:
    """The cells of the table below `<!-- mark -->`, without its head."""
    _, _, below = (ROOT / "docs" / document).read_text().partition(f"<!-- {mark} -->\n")
    rows = [line for line in below.partition("\n\n")[0].splitlines()[2:] if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


def code(text: str) -> str:
    """Without white space, and the commas before a closing bracket that a formatter adds."""
    return re.sub(r",(?=[)\]}])", "", re.sub(r"\s+", "", text))


def test_the_table_of_drivers_is_the_one_that_runs() -> None:
    ran = [(server, client) for server, client in CLIENTS if not client.startswith("naive")]
    assert sorted((row[0], row[1]) for row in table("brokers.md", "drivers")) == sorted(ran)


def test_its_lines_are_those_that_run() -> None:
    sources = {clients_of(path)[0]: code(path.read_text()) for path in MODULES}
    for server, driver, lines, _ in table("brokers.md", "drivers"):
        for line in re.findall(r"`(.+?)`", re.split(", where|, and one", lines)[0]):
            pattern = ".{0,80}?".join(map(re.escape, code(line).split("…")))
            assert re.search(pattern, sources[server]), f"{driver}: {line}"


def test_the_table_of_gaps_has_every_client() -> None:
    assert sorted((row[0], row[1]) for row in table("benchmarks.md", "brokers")) == sorted(CLIENTS)
