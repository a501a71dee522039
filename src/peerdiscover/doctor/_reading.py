"""Reading manifests: YAML of several documents, JSON, Lists; from files, folders and stdin.

Invariants:

* What cannot be read is one `ConfigurationError` that names the file, the line and what to do.
* Nothing in a file is run, and at most `MAX_BYTES` of it are read.
* JSON needs no package. YAML needs PyYAML, which the extra `cli` brings.
* Values are those of JSON, as in Kubernetes: a date in YAML is a string.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from peerdiscover._text import printable
from peerdiscover.errors import ConfigurationError

MAX_BYTES = 10_000_000
SUFFIXES = (".yaml", ".yml", ".json")
Found = tuple[Mapping[str, Any], str | None, int | None]
"""An object, its file, and the line on which it begins."""
Document = tuple[Any, Mapping[int, int]]
"""What one document says, and the line of each mapping in it, by `id`."""


def read(paths: Iterable[str]) -> list[Found]:
    """The objects in all of them; "-" is stdin. `ConfigurationError` for what cannot be read."""
    return [found for path in paths for found in _read_path(path)]


def _read_path(path: str) -> list[Found]:
    if path == "-":
        found = list(_objects(sys.stdin.buffer.read(MAX_BYTES + 1), "stdin"))
        return found or _nothing("stdin", "no manifest in it")
    place = Path(path)
    if place.is_dir():
        files = sorted(p for p in place.rglob("*") if p.suffix in SUFFIXES and p.is_file())
        found = [one for file in files for one in _objects(_bytes(file), str(file))]
        return found or _nothing(path, "no manifest in this folder (*.yaml, *.yml, *.json)")
    return list(_objects(_bytes(place), path)) or _nothing(
        path, "no manifest in it: expected kind: and metadata:"
    )


def _nothing(path: str, why: str) -> list[Found]:
    raise ConfigurationError(f"{printable(path)}: {why}")


def _bytes(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"{printable(str(file))}: {error.strerror}") from None


def _objects(data: bytes, file: str) -> Iterator[Found]:
    """The objects in one file, those in Lists one by one. What is no object is skipped."""
    where = printable(file)
    if len(data) > MAX_BYTES:
        raise ConfigurationError(f"{where}: more than {MAX_BYTES:,} bytes; give a part of it")
    try:
        text = data.decode("utf-8-sig")
        is_json = text.lstrip().startswith(("{", "["))
        documents = _json(text, where) if is_json else None
        for document, lines in documents or _yaml(text, where):
            listed = document.get("items") if isinstance(document, dict) else document
            for item in listed if isinstance(listed, list) else [document]:
                if isinstance(item, dict) and isinstance(item.get("kind"), str):
                    yield item, file, lines.get(id(item), 1)
    except UnicodeDecodeError:
        raise ConfigurationError(f"{where}: no text in UTF-8") from None
    except RecursionError:
        raise ConfigurationError(f"{where}: nested too deeply") from None


def _json(text: str, where: str) -> list[Document] | None:
    """The document; None if it is no JSON, and may be YAML that begins with a brace."""
    try:
        return [(json.loads(text), {})]
    except ValueError as error:
        if "{{" in text:
            raise _template(where) from None
        if where.endswith(".json"):
            raise ConfigurationError(f"{where}: no JSON: {printable(str(error))}") from None
        return None


def _template(where: str) -> ConfigurationError:
    return ConfigurationError(f"{where}: a Helm template: give `helm template`'s output")


def _yaml(text: str, where: str) -> Iterator[Document]:
    try:
        import yaml  # an extra
    except ImportError:
        raise ConfigurationError(
            f"{where}: reading YAML needs PyYAML: pip install 'peerdiscover[cli]' (JSON needs nothing)"
        ) from None
    from ._yaml import documents

    try:
        yield from documents(text)
    except (yaml.YAMLError, ValueError) as error:
        if "{{" in text:
            raise _template(where) from None
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        what = getattr(error, "problem", None) or error
        raise ConfigurationError(f"{where}{line}: no YAML: {printable(str(what))}") from None
