"""Reads YAML into nodes that know their place: no tags, bounded size, depth and aliases, duplicate keys reported."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import field
from typing import Any, Literal

from penstock.config.problems import Findings, Mark, Path
from penstock.errors import ConfigError
from penstock.records import dataclass

MAX_BYTES = 5 << 20
MAX_DEPTH = 60
MAX_NODES = 200_000  # as written, as merged, and with aliases followed
MAX_KEY = 1_000  # characters; a longer one would be compared with every known key
MERGE = "<<"
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(slots=True, eq=False)
class Node:
    """A scalar (`text`, `plain`), a sequence (`items`) or a mapping (`pairs`, keys being scalars)."""

    kind: Literal["scalar", "sequence", "mapping"]
    mark: Mark
    text: str = ""
    plain: bool = False
    items: list[Node] = field(default_factory=list)
    pairs: list[tuple[Node, Node]] = field(default_factory=list)

    @property
    def is_null(self) -> bool:
        return self.kind == "scalar" and self.plain and self.text in ("", "~", "null", "Null", "NULL")


def read_document(text: str, findings: Findings, *, lenient: bool = False) -> Node:
    """The file's one document, merge keys resolved. Raises ConfigError for what is not YAML or is more than allowed."""
    if len(text.encode("utf-8", "replace")) > MAX_BYTES:
        raise ConfigError(f"the project file is larger than {MAX_BYTES >> 20} MB", where=findings.file)
    root = _Composer(text, findings, lenient=lenient).compose()
    return _Merger(findings, lenient=lenient).resolve(root)


class _Composer:
    """Events to nodes. Without recursion, so that no file can exhaust the stack."""

    def __init__(self, text: str, findings: Findings, *, lenient: bool) -> None:
        self._text = text
        self._findings = findings
        self._lenient = lenient
        self._anchors: dict[str, Node] = {}
        self._open: list[tuple[Node, list[Node]]] = []  # a container and what it holds so far
        self._count = 0

    def compose(self) -> Node:
        from ruamel.yaml.error import MarkedYAMLError, YAMLError

        root: Node | None = None
        try:
            for event in _events(self._text):
                node = self._take(event)
                if node is None:
                    continue
                if root is not None:
                    raise self._stop("a project file is one YAML document", node.mark, "remove the second ---")
                root = node
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = Mark(mark.line + 1, mark.column + 1) if mark else Mark(1, 1)
            what = str(error.problem or error.context or "the text ends too early").split(" in ", 1)[0].strip()
            # the reader's own text quotes the lines around, and one of them may hold a secret
            raise self._stop(f"not YAML: {what}", place, self._hint(place)) from None
        except YAMLError:
            raise ConfigError(
                "not YAML: a character, an escape or a directive in it is not allowed", where=self._findings.file
            ) from None
        return root or Node("scalar", Mark(1, 1), plain=True)

    def _take(self, event: Any) -> Node | None:
        """Add the event to what is open; the root node once it is complete."""
        name = type(event).__name__
        self._count += 1
        if self._count > MAX_NODES:
            raise self._stop(f"more than {MAX_NODES} values", _mark(event), "split the project into several files")
        if name in ("SequenceStartEvent", "MappingStartEvent"):
            self._start(event, "sequence" if name == "SequenceStartEvent" else "mapping")
            return None
        if name in ("SequenceEndEvent", "MappingEndEvent"):
            node, children = self._open.pop()
            return self._place(self._close(node, children))
        if name == "ScalarEvent":
            self._refuse_tag(event)
            node = Node("scalar", _mark(event), text=self._whole(event), plain=event.implicit[0])
            self._remember(event, node)
            return self._place(node)
        if name == "AliasEvent":
            return self._place(self._find(event))
        return None

    def _start(self, event: Any, kind: Literal["sequence", "mapping"]) -> None:
        self._refuse_tag(event)
        if len(self._open) >= MAX_DEPTH:
            raise self._stop(f"nested more than {MAX_DEPTH} levels deep", _mark(event), "flatten it")
        self._open.append((Node(kind, _mark(event)), []))
        self._remember(event, self._open[-1][0])

    def _place(self, node: Node) -> Node | None:
        if not self._open:
            return node
        self._open[-1][1].append(node)
        return None

    def _close(self, node: Node, children: list[Node]) -> Node:
        if node.kind == "sequence":
            node.items = children
            return node
        for key, value in zip(children[::2], children[1::2], strict=True):
            if key.kind != "scalar":
                raise self._stop("a key must be plain text", key.mark, "write the key as one word")
            if len(key.text) > MAX_KEY:
                raise self._stop(f"a key of more than {MAX_KEY} characters", key.mark, "write the key as one word")
            node.pairs.append((key, value))
        return node

    def _remember(self, event: Any, node: Node) -> None:
        if event.anchor:
            self._anchors[event.anchor] = node

    def _whole(self, event: Any) -> str:
        """The text, with pairs of surrogates as JSON escapes them joined."""
        text = str(event.value)
        if text.isascii() or not _SURROGATE.search(text):
            return text
        try:
            return text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            raise self._stop("half a character (a lone surrogate)", _mark(event), "write the whole one") from None

    def _find(self, event: Any) -> Node:
        found = self._anchors.get(event.anchor)
        if found is None:
            raise self._stop(f"no anchor &{event.anchor} above this alias", _mark(event), "define it first")
        if any(found is node for node, _ in self._open):
            raise self._stop(f"the alias *{event.anchor} holds itself", _mark(event), "remove the circle")
        return found

    def _hint(self, mark: Mark) -> str:
        lines = self._text.splitlines()
        line = lines[mark.line - 1] if mark.line <= len(lines) else ""
        in_braces = "${" in line and ("{" in line.replace("${", "") or "[" in line)
        return "inside { } and [ ] put ${...} in quotes" if in_braces else "check indentation, colons and quotes there"

    def _refuse_tag(self, event: Any) -> None:
        if event.tag is None or str(event.tag) == "tag:yaml.org,2002:str":
            return
        raise self._stop("YAML tags are not allowed in a project", _mark(event), "remove the tag (!...)")

    def _stop(self, what: str, mark: Mark, fix: str) -> ConfigError:
        return ConfigError(what, where=f"{self._findings.file}:{mark.line}:{mark.column}", fix=fix)


def _events(text: str) -> Iterator[Any]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    reader = YAML(typ="safe", pure=True)
    reader.version = (1, 2)
    events = reader.parse(text)
    while True:
        try:
            event = next(events, None)
        except YAMLError:
            raise
        except Exception as error:  # noqa: BLE001 - it breaks on escapes beyond Unicode, odd directives and the like
            raise YAMLError(f"cannot be read: {type(error).__name__}") from None
        if event is None:
            return
        yield event


def _mark(event: Any) -> Mark:
    return Mark(event.start_mark.line + 1, event.start_mark.column + 1)


class _Merger:
    """Resolves `<<` and reports keys written twice, each node once however many aliases lead to it."""

    def __init__(self, findings: Findings, *, lenient: bool) -> None:
        self._findings = findings
        self._lenient = lenient
        self._done: dict[int, Node] = {}
        self._merged_pairs = 0

    def resolve(self, node: Node, path: Path = ()) -> Node:
        if id(node) in self._done:
            return node
        self._done[id(node)] = node
        for index, item in enumerate(node.items):
            self.resolve(item, (*path, index))
        for key, value in node.pairs:
            self.resolve(value, (*path, key.text))
        if node.kind == "mapping":
            node.pairs = self._merged(node, path)
        return node

    def _merged(self, node: Node, path: Path) -> list[tuple[Node, Node]]:
        own: dict[str, tuple[Node, Node]] = {}
        merged: list[tuple[Node, Node]] = []
        for key, value in node.pairs:
            if key.plain and key.text == MERGE:
                merged += self._merge_pairs(value, (*path, MERGE))
                self._merged_pairs += len(merged)
                if self._merged_pairs > MAX_NODES:
                    where = f"{self._findings.file}:{value.mark.line}:{value.mark.column}"
                    raise ConfigError(f"merge keys make this file larger than {MAX_NODES} values", where=where)
                continue
            if key.text in own:
                self._report_twice(key, own[key.text][0], (*path, key.text))
            own[key.text] = (key, value)
        for key, value in merged:
            own.setdefault(key.text, (key, value))
        return list(own.values())

    def _report_twice(self, key: Node, first: Node, path: Path) -> None:
        self._findings.report(
            f"the key {key.text!r} is written twice",
            path,
            fix=f"keep one; the first is in line {first.mark.line}",
            lenient=self._lenient,
            mark=key.mark,
        )

    def _merge_pairs(self, value: Node, path: Path) -> list[tuple[Node, Node]]:
        if value.kind == "mapping":
            return value.pairs
        if value.kind == "sequence" and all(item.kind == "mapping" for item in value.items):
            distinct = {id(item): item for item in value.items}
            return [pair for item in distinct.values() for pair in item.pairs]
        self._findings.error("<< takes a mapping, or a list of mappings", path, mark=value.mark)
        return []
