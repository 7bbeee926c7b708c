"""The JSON Schema of a project file, for editors: made from the models, installed connectors included."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from penstock import plugins
from penstock.config.models import EnvironmentConfig
from penstock.errors import PluginNotFoundError
from penstock.values import Json

DIALECT = "https://json-schema.org/draft/2020-12/schema"
NOTES = "^x-"
_VARIABLE: dict[str, Any] = {"type": "string", "pattern": r"\$\{"}
_OWN_MARKS = ("shown", "secret")
_CONNECTION = "ConnectionConfig"


def project_schema() -> dict[str, Json]:
    """What `penstock schema` prints. Keys of connectors are those of the connectors installed here."""
    environment = EnvironmentConfig.model_json_schema(by_alias=True)
    definitions: dict[str, Any] = environment.pop("$defs")
    definitions["EnvironmentConfig"] = environment
    environment["properties"]["connections"]["patternProperties"] = {NOTES: {}}
    _add_variants(definitions)
    for definition in definitions.values():
        _open(definition)
    return {
        "$schema": DIALECT,
        "title": "A Penstock project",
        "type": "object",
        "properties": {
            "version": {"description": "Version of the format.", "enum": [2]},
            "default_environment": {
                "description": "The environment that is loaded unless --env names another.",
                "type": "string",
                "default": "prod",
            },
            "project": {"description": "Id of the project, part of what owns a table.", "type": "string"},
        },
        "patternProperties": {NOTES: {}},
        "additionalProperties": {"$ref": "#/$defs/EnvironmentConfig"},
        "$defs": definitions,
    }


def installed_models() -> Iterator[tuple[str, type[BaseModel]]]:
    """The variants and their models; one whose package cannot be imported is not among them."""
    for name in plugins.connector_names():
        try:
            yield name, plugins.connector(name).options()
        except PluginNotFoundError:
            continue


def _add_variants(definitions: dict[str, Any]) -> None:
    """`then` says what a variant takes; keys of one variant alone are allowed on the connection first."""
    connection = definitions[_CONNECTION]
    shared = dict(connection["properties"])
    for name, model in installed_models():
        schema = model.model_json_schema(by_alias=True, ref_template=f"#/$defs/{name}.{{model}}")
        definitions.update({f"{name}.{inner}": d for inner, d in schema.pop("$defs", {}).items()})
        own = {key: value for key, value in schema["properties"].items() if key not in shared or key == "extra"}
        connection["properties"].update({key: connection["properties"].get(key, {}) for key in own})
        taken = {"properties": own, "required": [key for key in schema.get("required", []) if key != "variant"]}
        condition = {"properties": {"variant": {"const": name}}, "required": ["variant"]}
        connection.setdefault("allOf", []).append({"if": condition, "then": taken})


def _open(definition: dict[str, Any]) -> None:
    """Allow `x-` notes, and a variable where a number, a flag or a word of a list is expected."""
    definition.setdefault("patternProperties", {})[NOTES] = {}
    _open_properties(definition)
    for branch in definition.get("allOf", []):
        _open_properties(branch["then"])


def _open_properties(definition: dict[str, Any]) -> None:
    for key, schema in definition.get("properties", {}).items():
        definition["properties"][key] = _with_variable({k: v for k, v in schema.items() if k not in _OWN_MARKS})


def _with_variable(schema: dict[str, Any]) -> dict[str, Any]:
    if "anyOf" in schema:
        return {**schema, "anyOf": [*schema["anyOf"], _VARIABLE]}
    if "enum" in schema or "const" in schema or schema.get("type") in ("integer", "number", "boolean"):
        about = {k: v for k, v in schema.items() if k in ("title", "description", "default", "examples")}
        kind = {k: v for k, v in schema.items() if k not in about}
        return {**about, "anyOf": [kind, _VARIABLE]}
    return schema
