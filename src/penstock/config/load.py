"""Finds a project file and loads one environment of it, with every mistake reported at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from penstock import plugins
from penstock.config.checks import check_environment
from penstock.config.connections import ConnectionConfig
from penstock.config.document import MAX_BYTES, Node, read_document
from penstock.config.expectations import Expected, expect_field, fields_of
from penstock.config.models import RESERVED, EnvironmentConfig, ProjectConfig, Waiting
from penstock.config.paths import beside
from penstock.config.problems import Findings, did_you_mean, format_path, suggest
from penstock.config.problems import Path as YamlPath
from penstock.config.settings import FILE_BACKENDS, Settings
from penstock.config.shape import Shaper
from penstock.config.validation import validate
from penstock.config.variables import Environment
from penstock.config.variants import read_connection
from penstock.config.waiting import BACKENDS, find_waiting
from penstock.errors import ConfigError

FILE_NAMES = ("penstock.yaml", "mkpipe_project.yaml")
SECTIONS = ("settings", "connections", "pipelines")
DEFAULT_ENVIRONMENT = "prod"
VERSION = "2"
_ENVIRONMENT = fields_of(EnvironmentConfig)
_SERVER_KEYS = ("host", "port", "user", "password", "schema", "extra")


def load_project(
    path: Path | None = None,
    *,
    environment: str | None = None,
    legacy: bool = False,
    environ: Mapping[str, str] | None = None,
) -> ProjectConfig:
    """The project of `path`, else of penstock.yaml, else of mkpipe_project.yaml in the current folder.

    Raises one ConfigError with every mistake. Variables come from `environ` (the process's when None) and `.env` beside
    the file. `legacy` makes warnings of unknown keys and of what YAML readers disagree about.
    """
    found = find_file(path)
    findings = Findings(_display(found))
    root = read_document(_read_text(found, findings.file), findings, lenient=legacy)
    variables = Environment(os.environ if environ is None else environ, found.parent / ".env")
    shaper = Shaper(findings, variables, found.parent, lenient=legacy)
    top = _read_top(root, shaper)
    name = top.get("default_environment") or DEFAULT_ENVIRONMENT
    if environment is not None:  # also where it is empty: a variable that is not set must not choose the default
        name = environment
    node = _choose(root, name, shaper, asked=environment is not None)
    return _load_environment(node, name, found, shaper, project=top.get("project"))


def find_file(path: Path | None) -> Path:
    """The absolute path of the project file. Raises ConfigError when there is none."""
    folder = Path.cwd() if path is None else path.absolute()
    if path is not None and not folder.is_dir():
        if not folder.is_file():
            raise ConfigError(f"no project file {path}", fix="name an existing file with -c")
        return folder
    for name in FILE_NAMES:
        if (folder / name).is_file():
            return folder / name
    raise ConfigError(
        f"no project file: neither {FILE_NAMES[0]} nor {FILE_NAMES[1]} is in {folder}",
        fix="make one with `penstock init`, or name one with -c",
    )


def _read_text(path: Path, shown: str) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        return content.decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"the project file cannot be read: {error.strerror}", where=shown) from error
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError("the project file is not UTF-8", where=f"{shown}:{line}:1", fix="save it as UTF-8") from None


def _display(path: Path) -> str:
    """As short as it is clear from the current folder."""
    cwd = Path.cwd()
    return str(path.relative_to(cwd)) if path.is_relative_to(cwd) else str(path)


def _read_top(root: Node, shaper: Shaper) -> dict[str, Any]:
    """The reserved keys; every other key must be an environment."""
    if root.kind != "mapping":
        shaper.findings.marks[()] = root.mark
        shaper.fail("a project file is a mapping", (), fix="begin with `version: 2` and an environment such as `prod:`")
        shaper.findings.raise_if_any()
    top = {key.text: value for key, value in root.pairs if key.text in RESERVED}
    text = Expected(text=True)
    kinds = {"version": Expected(number=True, text=True), "default_environment": text, "project": text}
    found = shaper.mapping(Node("mapping", root.mark, pairs=[p for p in root.pairs if p[0].text in top]), kinds, ())
    if "version" in found and str(found["version"]) != VERSION:
        shaper.findings.report(
            f"version {shaper.sources.get(('version',))} is not known",
            ("version",),
            fix="write version: 2",
            lenient=shaper.lenient,
        )
    for key, value in root.pairs:
        if key.text not in RESERVED and not key.text.startswith("x-"):
            _check_is_environment(key, value, shaper)
    return {name: str(value) for name, value in found.items()}


def _check_is_environment(key: Node, value: Node, shaper: Shaper) -> None:
    path = (key.text,)
    shaper.findings.marks[path] = value.mark
    if key.text in SECTIONS:
        fix = f"put it inside an environment: `{DEFAULT_ENVIRONMENT}:` with `{key.text}:` indented below"
        shaper.findings.report(
            f"{key.text} is outside any environment", path, fix=fix, lenient=shaper.lenient, mark=key.mark
        )
        return
    names = [k.text for k, _ in value.pairs if not k.text.startswith("x-")]
    if value.is_null or (value.kind == "mapping" and (not names or set(names) & set(SECTIONS))):
        return
    near = next((hint for name in names if (hint := did_you_mean(name, SECTIONS))), None)
    if value.kind == "mapping" and near:
        return  # an environment with a misspelt section; it is reported when that environment is loaded
    fix = did_you_mean(key.text, RESERVED) or f"an environment has {', '.join(SECTIONS)}; notes go under x-{key.text}"
    shaper.findings.report(f"unknown key {key.text!r}", path, fix=fix, lenient=shaper.lenient, mark=key.mark)


def _choose(root: Node, name: str, shaper: Shaper, *, asked: bool) -> Node:
    """The environment's node; `asked` where the caller named it, not the file."""
    for key, value in root.pairs:
        if key.text == name and name not in (*RESERVED, *SECTIONS):
            return value
    known = [k.text for k, _ in root.pairs if k.text not in (*RESERVED, *SECTIONS) and not k.text.startswith("x-")]
    in_file = ("default_environment",) in shaper.findings.marks and not asked
    path = ("default_environment",) if in_file else ()
    shaper.findings.marks.setdefault((), root.mark)
    fix = suggest(name, known, title="environments:") or f"write `{name}:` with connections and pipelines"
    shaper.fail(f"no environment {name!r}", path, fix=fix)
    shaper.findings.raise_if_any()
    raise AssertionError("raise_if_any raises after a failure")


def _load_environment(node: Node, name: str, file: Path, shaper: Shaper, *, project: str | None) -> ProjectConfig:
    path = (name,)
    sections = _sections(node, path, shaper)
    settings = _shape_settings(sections.get("settings"), (name, "settings"), shaper)
    pipelines = _shape_pipelines(sections.get("pipelines"), (name, "pipelines"), shaper)
    connections, built = _build_connections(sections.get("connections"), pipelines, name, shaper)
    data = {"settings": settings, "connections": connections, "pipelines": pipelines}
    check_environment(data, path, shaper)
    checked = validate(Settings, settings, (name, "settings"), shaper)
    wrapped = validate(EnvironmentConfig, {"pipelines": pipelines}, path, shaper)
    shaper.findings.raise_if_any()
    assert checked is not None
    assert wrapped is not None
    findings = shaper.findings
    waiting = tuple(
        Waiting(format_path((name, *where)), findings.place_of((name, *where)), feature)
        for where, feature in find_waiting(data)
    )
    return ProjectConfig(
        path=file,
        base_dir=file.parent,
        environment=name,
        project=project,
        settings=_with_absolute_folders(checked, file.parent),
        connections=built,
        pipelines=wrapped.pipelines,
        warnings=tuple(str(w) for w in dict.fromkeys(findings.warnings)),
        waiting=waiting,
        _file=findings.file,
        _marks=dict(findings.marks),
    )


def _with_absolute_folders(settings: Settings, base_dir: Path) -> Settings:
    folders = {key: beside(base_dir, value) for key in ("staging", "log_dir") if (value := getattr(settings, key))}
    return settings.model_copy(update=folders)


def _sections(node: Node, path: YamlPath, shaper: Shaper) -> dict[str, Node]:
    """The environment's sections, unknown ones reported."""
    shaper.findings.marks[path] = node.mark
    if not node.is_null and node.kind != "mapping":
        shaper.fail("an environment is a mapping", path, fix=f"write {', '.join(SECTIONS)} below it")
    for key, _ in node.pairs:
        if key.text not in SECTIONS and not key.text.startswith("x-"):
            shaper.unknown_key(key.text, _ENVIRONMENT, (*path, key.text), key.mark)
    return {key.text: value for key, value in node.pairs if key.text in SECTIONS}


def _shape_settings(node: Node | None, path: YamlPath, shaper: Shaper) -> dict[str, Any]:
    backend = next((v for k, v in node.pairs if k.text == "backend"), None) if node is not None else None
    if node is None or backend is None or backend.kind != "mapping":
        return shaper.mapping(node, fields_of(Settings), path)
    kept = _backend_without_foreign(backend, (*path, "backend"), shaper)
    pairs = [(key, kept if value is backend else value) for key, value in node.pairs]
    return shaper.mapping(Node("mapping", node.mark, pairs=pairs), fields_of(Settings), path)


def _backend_without_foreign(node: Node, path: YamlPath, shaper: Shaper) -> Node:
    """The backend's keys; those that only a server takes are warned about on a file, and their variables not needed."""
    written = next((value for key, value in node.pairs if key.text == "variant"), None)
    variant = shaper.environment.substitute_known(written.text) if written is not None else FILE_BACKENDS[0]
    _check_backend(variant, (*path, "variant"), written, shaper)
    if variant not in FILE_BACKENDS:
        return node
    for key, _ in node.pairs:
        if key.text in _SERVER_KEYS:
            what = f"{key.text} has no effect with the {variant} backend"
            shaper.findings.warn(what, (*path, key.text), fix="remove it, or use variant: postgres", mark=key.mark)
    return Node("mapping", node.mark, pairs=[p for p in node.pairs if p[0].text not in _SERVER_KEYS])


def _check_backend(variant: str, path: YamlPath, written: Node | None, shaper: Shaper) -> None:
    if written is None or written.kind != "scalar" or written.is_null or plugins.has_backend(variant):
        return
    installed = plugins.backend_names()
    shaper.findings.marks[path] = written.mark
    feature = BACKENDS.get(variant)
    if feature is not None:
        what = f"the backend {variant!r} is not available in this release: it comes with {feature}"
        shaper.fail(what, path, fix=f"installed backends: {', '.join(installed)}")
        return
    shaper.failed.add(path)
    fix = suggest(variant, installed, title="installed backends:") or "none is installed: pip install penstock"
    shaper.findings.error(f"no backend {variant!r}", path, fix=fix, plugin=True)


def _shape_pipelines(node: Node | None, path: YamlPath, shaper: Shaper) -> list[Any]:
    if node is None or node.is_null:
        return []
    shaper.findings.marks[path] = node.mark
    if node.kind != "sequence":
        shaper.fail("pipelines is a list", path, fix="begin each pipeline with a dash: `- name: ...`")
        return []
    found = shaper.value(node, expect_field(EnvironmentConfig.model_fields["pipelines"]), path)
    return found if isinstance(found, list) else []


def _build_connections(
    node: Node | None, pipelines: list[Any], name: str, shaper: Shaper
) -> tuple[dict[str, Any], dict[str, ConnectionConfig]]:
    path = (name, "connections")
    if node is None or node.is_null:
        return {}, {}
    shaper.findings.marks[path] = node.mark
    if node.kind != "mapping":
        shaper.fail("connections is a mapping", path, fix="write each connection below its name")
        return {}, {}
    ends = [p.get(role) for p in pipelines if isinstance(p, Mapping) for role in ("source", "destination")]
    used = {end for end in ends if isinstance(end, str)}
    data: dict[str, Any] = {}
    built: dict[str, ConnectionConfig] = {}
    for key, value in node.pairs:
        if key.text.startswith("x-"):
            continue
        here = (*path, key.text)
        data[key.text], connection = read_connection(key.text, value, here, shaper, used=key.text in used)
        if connection is not None:
            built[key.text] = connection
    return data, built
