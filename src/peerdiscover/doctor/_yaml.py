"""YAML as values of JSON, from the events of PyYAML's parser: its nodes take ten times the memory.

Invariants:

* Only the parser differs between PyYAML in C and in Python; what is made of its events does not.
* An alias is the same value again. What `<<` copies is counted, since it grows as the square of the text.
* A scalar is what PyYAML's safe loader makes of it, but for what JSON has not, such as dates: strings.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml
from yaml.constructor import ConstructorError

MAX_MERGED = 1_000_000
"""Pairs that merges (`<<`) may copy in one file."""
TAG = "tag:yaml.org,2002:"
STRINGS = {f"{TAG}{name}" for name in ("timestamp", "binary", "merge", "value")}
"""`value` is a plain "=", which CRDs have in lists of operators."""


def documents(text: str) -> Iterator[tuple[Any, dict[int, int]]]:
    """Each document, with the line of each mapping in it by `id`. Raises `YAMLError` and `ValueError`."""
    # The one in C is ten times as fast, and not in every build of PyYAML.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
    builder = _Builder(loader)
    try:
        loader.get_event()  # the stream starts
        while not isinstance(loader.get_event(), yaml.StreamEndEvent):  # a document starts
            yield builder.document()
            loader.get_event()  # it ends
    finally:
        loader.dispose()


class _Builder:
    def __init__(self, loader: Any) -> None:
        self._loader = loader
        self._anchors: dict[str, Any] = {}
        self._lines: dict[int, int] = {}
        # Manifests say the same words again and again, and resolving one is a matter of regular expressions.
        self._scalars: dict[tuple[object, ...], Any] = {}
        self._merged = 0

    def document(self) -> tuple[Any, dict[int, int]]:
        self._anchors, self._lines = {}, {}
        return self._value(self._loader.get_event()), self._lines

    def _value(self, event: Any) -> Any:
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event)
            if event.anchor is not None:
                self._anchors[event.anchor] = value
            return value
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise _error(f"found undefined alias {event.anchor!r}", event)
            return self._anchors[event.anchor]
        is_list = isinstance(event, yaml.SequenceStartEvent)
        if event.tag not in (None, "!", f"{TAG}{'seq' if is_list else 'map'}"):
            raise _error(f"could not determine a constructor for the tag {event.tag!r}", event)
        found: Any = [] if is_list else {}
        if event.anchor is not None:
            self._anchors[event.anchor] = found
        if is_list:
            while not isinstance(item := self._loader.get_event(), yaml.SequenceEndEvent):
                found.append(self._value(item))
        else:
            self._lines[id(found)] = event.start_mark.line + 1
            self._fill(found)
        return found

    def _fill(self, mapping: dict[Any, Any]) -> None:
        merged: list[dict[Any, Any]] = []
        while not isinstance(key := self._loader.get_event(), yaml.MappingEndEvent):
            name, value = self._value(key), self._value(self._loader.get_event())
            if name == "<<" and isinstance(key, yaml.ScalarEvent) and key.implicit[0]:
                merged += self._sources(value, key)
            elif isinstance(name, dict | list):
                raise _error("found unhashable key", key)
            else:
                mapping[name] = value
        for source in merged:  # what stands in the mapping itself, or in an earlier one, wins
            for name, value in list(source.items()):
                mapping.setdefault(name, value)

    def _sources(self, value: Any, event: Any) -> list[dict[Any, Any]]:
        sources = value if isinstance(value, list) else [value]
        if not all(isinstance(one, dict) for one in sources):
            raise _error("expected a mapping or list of mappings for merging", event)
        self._merged += sum(map(len, sources))
        if self._merged > MAX_MERGED:
            raise _error(f"merges (<<) copy more than {MAX_MERGED:,} pairs", event)
        return sources

    def _scalar(self, event: Any) -> Any:
        known = (event.value, event.tag, event.implicit)
        if known not in self._scalars:
            tag = event.tag
            if tag in (None, "!"):
                tag = self._loader.resolve(yaml.ScalarNode, event.value, event.implicit)
            node = yaml.ScalarNode(tag, event.value, event.start_mark, event.end_mark)
            try:
                self._scalars[known] = event.value if tag in STRINGS else self._loader.construct_object(node)
            except (LookupError, ValueError):  # PyYAML's own, for `!!int ""`; the value may be a secret
                raise _error(f"a scalar is not of its type, {tag.rpartition(':')[2]}", event) from None
        return self._scalars[known]


def _error(problem: str, event: Any) -> ConstructorError:
    return ConstructorError(None, None, problem, event.start_mark)
