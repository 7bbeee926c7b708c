"""Shapes connections and has each variant's own model check the keys it takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from typing import Any

from pydantic import BaseModel

from penstock import plugins
from penstock.config.connections import ConnectionConfig
from penstock.config.document import Node
from penstock.config.expectations import ANYTHING, Expected, fields_of
from penstock.config.problems import Path, suggest
from penstock.config.secrets import HIDDEN
from penstock.config.shape import Nothing, Shaper
from penstock.config.validation import validate
from penstock.config.waiting import EXTRA_VALUES, EXTRAS, KEYS, VARIANTS, owner_of
from penstock.errors import PluginNotFoundError
from penstock.records import dataclass
from penstock.values import Secret

DOCUMENTED = fields_of(ConnectionConfig)
ANY_EXTRA = Expected(value=ANYTHING)
PERHAPS_SECRET = Expected(secret=True, number=True, flag=True)
_SECRET_NAME = re.compile(r"pass|pwd|secret|token|key|credential|uri|url|conn|dsn|auth", re.IGNORECASE)


@dataclass(slots=True)
class Variant:
    """What the plugin of a variant says about its keys; a plugin that is not there says nothing."""

    name: str
    model: type[BaseModel] | None = None
    fields: Mapping[str, Expected] = field(default_factory=dict)

    @property
    def extra(self) -> Mapping[str, Expected] | None:
        """The keys under `extra`; None where the variant has none."""
        return self.fields["extra"].fields if "extra" in self.fields else None


def read_connection(
    name: str, node: Node, path: Path, shaper: Shaper, *, used: bool
) -> tuple[dict[str, Any], ConnectionConfig | None]:
    """The connection's values, and the checked connection: None with its mistakes reported.

    `used` says that a pipeline names it, so that its plugin and its variables must be there.
    """
    shaper.findings.marks[path] = node.mark
    shaper.unset = None if used else []
    variant = _find_variant(node, path, shaper, used=used)
    if not used and _waits(node, shaper):
        variant = Variant(variant.name)  # its plugin would refuse what only a run would need
    data = _shape(node, variant, path, shaper)
    unset = tuple(shaper.unset or ())
    shaper.unset = None
    return data, _build(name, data, variant, path, shaper, unset)


def _shape(node: Node, variant: Variant, path: Path, shaper: Shaper) -> dict[str, Any]:
    own = {name: e for name, e in variant.fields.items() if name not in DOCUMENTED}
    fields = {**DOCUMENTED, **own, "extra": ANY_EXTRA}
    kept = _without_foreign(node, variant, path, shaper)
    extra = _pair(kept, "extra")
    rest = Node(kept.kind, kept.mark, kept.text, kept.plain, kept.items, [p for p in kept.pairs if p[1] is not extra])
    data = shaper.mapping(rest, fields, path)
    if extra is not None and not extra.is_null:
        data["extra"] = _shape_extra(extra, variant, (*path, "extra"), shaper)
    return data


def _build(
    name: str, data: dict[str, Any], variant: Variant, path: Path, shaper: Shaper, unset: tuple[str, ...]
) -> ConnectionConfig | None:
    if unset:
        data = {"variant": variant.name, **{k: v for k, v in data.items() if k != "extra"}}
    elif variant.model is not None:
        validate(variant.model, _visible(data, variant.fields), path, shaper)
    checked = validate(ConnectionConfig, {k: v for k, v in data.items() if k in DOCUMENTED}, path, shaper)
    if checked is None:
        return None
    own = {key: data[key] for key in data if key not in DOCUMENTED}
    paths = {key for fields in (variant.fields, variant.extra or {}) for key, e in fields.items() if e.path}
    place = shaper.findings.place_of(path)
    return checked.placed(name, shaper.base_dir, place, options=own, paths=paths, unset=unset)


def _find_variant(node: Node, path: Path, shaper: Shaper, *, used: bool) -> Variant:
    written = _pair(node, "variant")
    name = written.text if written is not None and written.kind == "scalar" else ""
    name = shaper.environment.substitute_known(name)
    if not name:
        return Variant(name)
    try:
        variant = _load(name)
        if used:
            plugins.require_modules(plugins.connector(name))
        return variant
    except PluginNotFoundError as error:
        shaper.findings.marks[(*path, "variant")] = written.mark if written else node.mark
        if used:
            _report_missing(name, error, (*path, "variant"), shaper)
        elif name not in VARIANTS and name not in plugins.connector_names():
            fix = suggest(name, plugins.connector_names(), title="installed variants:")
            shaper.findings.warn(f"no connector for the variant {name!r} is installed", (*path, "variant"), fix=fix)
        return Variant(name)


def _waits(node: Node, shaper: Shaper) -> bool:
    """Whether `extra` asks for a storage or a format that is not here yet."""
    extra = _pair(node, "extra")
    written = (
        [(key.text, shaper.environment.substitute_known(value.text)) for key, value in extra.pairs] if extra else []
    )
    return any(pair in EXTRA_VALUES for pair in written)


def _load(name: str) -> Variant:
    model = plugins.connector(name).options()
    return Variant(name, model, fields_of(model))


def _report_missing(name: str, error: PluginNotFoundError, path: Path, shaper: Shaper) -> None:
    installed = plugins.connector_names()
    if name in installed:
        shaper.failed.add(path)
        shaper.findings.error(error.what, path, fix=error.fix, plugin=True)
        return
    feature = VARIANTS.get(name)
    if feature is not None:
        fix = f"installed variants: {', '.join(installed) or 'none'}"
        what = f"the variant {name!r} is not available in this release: it comes with {feature}"
        shaper.fail(what, path, fix=fix)
        return
    shaper.failed.add(path)
    fix = suggest(name, installed, title="installed variants:") or "no connector is installed: pip install penstock"
    shaper.findings.error(f"no connector for the variant {name!r} is installed", path, fix=fix, plugin=True)


def _pair(node: Node, key: str) -> Node | None:
    return next((value for name, value in node.pairs if name.text == key), None)


def _without_foreign(node: Node, variant: Variant, path: Path, shaper: Shaper) -> Node:
    """The node without keys that are documented for other variants: those are warned about and not read."""
    if variant.model is None or node.kind != "mapping":
        return node
    kept = []
    for key, value in node.pairs:
        if key.text not in DOCUMENTED or key.text in variant.fields:
            kept.append((key, value))
            continue
        if key.text == "extra":
            _warn_foreign_extra(value, variant, (*path, "extra"), shaper)
            continue
        feature = KEYS.get(f"connections{{}}.{key.text}")
        since = f"; it belongs to a connector that comes with {feature}" if feature else ""
        what = f"{key.text} has no effect on a {variant.name} connection{since}"
        shaper.findings.warn(what, (*path, key.text), fix="remove it", mark=key.mark)
    return Node("mapping", node.mark, pairs=kept)


def _warn_foreign_extra(node: Node, variant: Variant, path: Path, shaper: Shaper) -> None:
    """`extra` of a variant that has none: each key is another variant's, or unknown."""
    for key, _ in node.pairs:
        _foreign_extra(key, variant, path, shaper)


def _foreign_extra(key: Node, variant: Variant, path: Path, shaper: Shaper) -> None:
    here = (*path, key.text)
    if key.text.startswith("x-"):
        return
    if key.text in EXTRAS:
        what = f"extra.{key.text} has no effect on a {variant.name} connection; it belongs to {owner_of(key.text)}"
        shaper.findings.warn(what, here, fix="remove it", mark=key.mark)
        return
    shaper.unknown_key(key.text, variant.extra or {}, here, key.mark)


def _shape_extra(node: Node, variant: Variant, path: Path, shaper: Shaper) -> dict[str, Any]:
    known = variant.extra
    if known is None:  # a plugin that is not there, or whose `extra` takes anything
        anything = {key.text: PERHAPS_SECRET if _SECRET_NAME.search(key.text) else ANYTHING for key, _ in node.pairs}
        return shaper.mapping(node, anything, path)
    kept = []
    for key, value in node.pairs:
        if key.text in known or key.text.startswith("x-"):
            kept.append((key, value))
        else:
            _foreign_extra(key, variant, path, shaper)
    if node.kind != "mapping":
        return shaper.mapping(node, known, path)
    return shaper.mapping(Node("mapping", node.mark, pairs=kept), known, path)


def _visible(data: Mapping[str, Any], fields: Mapping[str, Expected]) -> dict[str, Any]:
    """What a plugin's model is shown: no secret, unless it asks for one by type."""
    shown: dict[str, Any] = {}
    for key, value in data.items():
        expected = fields.get(key, ANYTHING)
        if isinstance(value, Secret):
            shown[key] = value if expected.secret_value else HIDDEN
        elif isinstance(value, Mapping) and expected.fields is not None:
            shown[key] = _visible(value, expected.fields)
        elif not isinstance(value, Nothing):
            shown[key] = value
    return shown
