"""The reference pages of the project file and of a connector's keys, made from the models."""

from __future__ import annotations

import json
import types
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from penstock import plugins
from penstock.config.connections import ConnectionConfig
from penstock.config.models import PipelineConfig
from penstock.config.settings import BackendConfig, Settings, SparkConfig
from penstock.config.tables import SparkTable, TableConfig
from penstock.config.units import parse_duration, parse_lookback, parse_size
from penstock.config.waiting import EXTRA_VALUES, KEYS, REFUSED_VALUES, TABLE, VARIANTS
from penstock.values import Secret

INTRODUCTION = """\
# The project file

`penstock.yaml`, else `mkpipe_project.yaml`, in the current folder, or the file given with `-c`. Made from the models;
`penstock schema` prints the same as JSON Schema for editors.

```yaml
version: 2
default_environment: prod
prod:
  settings: {}
  connections:
    shop: {variant: sqlite, database: shop.db}
    dwh: {variant: duckdb, database: dwh.duckdb}
  pipelines:
    - name: shop_to_dwh
      source: shop
      destination: dwh
      tables:
        - {name: orders, target_name: orders}
```

## How it is read

- Every mistake is reported at once with file, line, column and YAML path. An unknown key is a mistake; keys that begin
  with `x-` are notes and allowed everywhere, and so are anchors, aliases and merge keys. `--legacy` turns unknown keys,
  keys written twice and the values below into warnings.
- Values that YAML readers disagree about are mistakes: `0123`, `12:34:56`, `0b101`, and `yes`, `no`, `on`, `off` where
  no boolean is expected. Put them in quotes. `1_000` is a number where a number is expected.
- `${VAR}` and `${VAR:-default}` are filled in from the environment, else from `.env` beside the project file; `$${` is
  the text `${`. A variable that is not set is a mistake, except in a connection that no pipeline names.
- Secrets are named by reference: `${VAR}`, `env:NAME`, `file:/path` (relative to the project file), or `name:...` of an
  installed provider (entry point group `penstock.secrets`). They are fetched when a connection is opened and shown by
  nothing. What a variable holds is never taken for a reference.
- Relative paths begin beside the project file.
- Durations: `500ms`, `60s`, `15m`, `2h`, `1d`, `1w`; a plain number is seconds. Sizes: `512kB`, `96MB`, `2GB`, a kB
  being 1024 bytes; a plain number is bytes.
- Keys that wait for a feature are understood and have no effect yet; `plan` lists those a project uses.
"""

TOP = """\
## Top level

| key | type | default | meaning |
|---|---|---|---|
| `version` | 2 | 2 | Version of the format. |
| `default_environment` | text | `prod` | The environment that is loaded unless `--env` names another. |
| `project` | text | the environment's name | Id of the project. |
| any other | mapping | | An environment: `settings`, `connections`, `pipelines`. |

Tables belong to the project's id and the pipeline's name; without `project`, those of the example above to
`prod/shop_to_dwh`. Whoever changes one of the three, or writes `project` later, is another owner, and refused:
[rename a pipeline](../how-to/recover.md#rename-a-pipeline).
"""

_NAMED = {parse_duration: "duration", parse_size: "size", parse_lookback: "duration, number or `all`"}
_PLAIN: dict[Any, str] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true, false",
    Secret: "secret",
    SecretStr: "secret",
    Any: "any",
}


def reference_markdown() -> str:
    """docs/reference/project.md."""
    sections: tuple[tuple[str, type[BaseModel], str], ...] = (
        ("settings", Settings, "settings"),
        ("settings.backend", BackendConfig, ""),
        ("settings.spark", SparkConfig, "settings.spark"),
        ("connections.NAME", ConnectionConfig, "connections{}"),
        ("pipelines[]", PipelineConfig, "pipelines[]"),
        ("pipelines[].tables[]", TableConfig, TABLE),
        ("pipelines[].tables[].spark", SparkTable, f"{TABLE}.spark"),
    )
    parts = [INTRODUCTION, TOP]
    parts += [f"## {title}\n\n{model.__doc__}\n\n{_table(model, base)}" for title, model, base in sections]
    return "\n".join([*parts, _waiting()])


def variant_markdown(variant: str) -> str:
    """The keys of one connector, as tables. Raises PluginNotFoundError when it is not installed."""
    model = plugins.connector(variant).options()
    parts = [_table(model, "")]
    extra = model.model_fields.get("extra")
    inner = next((a for a in _parts(extra.annotation) if _is_model(a)), None) if extra is not None else None
    if inner is not None:
        parts.append(f"Under `extra`:\n\n{_table(inner, '')}")
    return "\n".join(parts)


def _table(model: type[BaseModel], base: str) -> str:
    rows = ["| key | type | default | meaning | example |", "|---|---|---|---|---|"]
    rows += [_row(info.alias or name, info, base) for name, info in model.model_fields.items()]
    return "\n".join(rows) + "\n"


def _row(key: str, info: FieldInfo, base: str) -> str:
    meaning = info.description or ""
    feature = KEYS.get(f"{base}.{key}") or KEYS.get(base)
    if feature is not None:
        meaning += f" Waits for {feature}."
    cells = (f"`{key}`", _type_of(info), _default_of(info), meaning, _example_of(info))
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _type_of(info: FieldInfo) -> str:
    named = _named(info.metadata)
    return named or _spell(info.annotation)


def _named(metadata: Iterable[object]) -> str | None:
    functions = (m.func for m in metadata if isinstance(m, BeforeValidator))
    return next((_NAMED[f] for f in functions if f in _NAMED), None)


def _spell(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _named(arguments[1:]) or _spell(arguments[0])
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_spell(a) for a in arguments if a is not type(None)))
    if origin is Literal:
        return ", ".join(f"`{a}`" for a in arguments)
    if origin is list:
        return f"list of {_spell(arguments[0])}"
    if origin in (dict, Mapping):
        return "mapping"
    return _PLAIN.get(annotation, "mapping" if _is_model(annotation) else "text")


def _parts(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _default_of(info: FieldInfo) -> str:
    extra = info.json_schema_extra
    if isinstance(extra, dict) and "shown" in extra:
        return str(extra["shown"])
    if info.is_required():
        return "required"
    if info.default in (None, PydanticUndefined, [], {}):
        return ""
    return _yaml(info.default)


def _example_of(info: FieldInfo) -> str:
    return ", ".join(_yaml(example) for example in info.examples or ())


def _yaml(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"`{text}`"


def _waiting() -> str:
    values = [f"`{key}: {value}` ({feature})" for (key, value), feature in REFUSED_VALUES.items()]
    values += [f"`extra.{key}: {value}` ({feature})" for (key, value), feature in EXTRA_VALUES.items()]
    variants = [f"`{name}` ({feature})" for name, feature in VARIANTS.items()]
    return (
        "## Not available yet\n\nThese are refused, naming the feature they come with; "
        "in a connection that no pipeline names they only wait.\n\n"
        f"- Values: {', '.join(values)}.\n- Variants: {', '.join(variants)}.\n"
    )
