"""Every mistake says what, where and the way out. `«` stands before the place that the error must name."""

from __future__ import annotations

import re
from textwrap import dedent, indent

import pytest

from penstock.errors import ConfigError, PluginNotFoundError
from tests.config.conftest import Load

MARK = "«"

GOOD_TABLE = "{name: orders, target_name: stg_orders}"


def project(tables: str = "", *, settings: str = "", connections: str = "", pipeline: str = "") -> str:
    """A project around the part that a test is about."""
    parts = [
        "version: 2",
        "prod:",
        *(["  settings:", indent(dedent(settings), "    ").rstrip()] if settings else []),
        "  connections:",
        "    src: {variant: river}",
        "    dst: {variant: river, schema: staging}",
        *([indent(dedent(connections), "    ").rstrip()] if connections else []),
        "  pipelines:",
        "    - name: p",
        *(
            [indent(dedent(pipeline), "      ").rstrip()]
            if pipeline
            else ["      source: src", "      destination: dst"]
        ),
        "      tables:",
        indent(dedent(tables), "        ").rstrip() if tables else f"        - {GOOD_TABLE}",
    ]
    return "\n".join(parts) + "\n"


def table(keys: str) -> str:
    return project(f"- name: orders\n  target_name: stg_orders\n{indent(dedent(keys), '  ')}")


def place_of(marked: str) -> tuple[str, str]:
    """The text without its mark, and `line:column` of the mark."""
    before = marked[: marked.index(MARK)]
    line = before.count("\n") + 1
    return marked.replace(MARK, ""), f"{line}:{len(before) - before.rfind(chr(10))}"


T = "prod.pipelines[0].tables[0]"

MISTAKES = {
    "an unknown key of a table": (
        table("«write_stratgy: upsert"),
        "unknown key 'write_stratgy'",
        f"{T}.write_stratgy",
        "did you mean 'write_strategy'?",
    ),
    "an unknown key of a pipeline": (
        project(pipeline="sorce: src\nsource: src\ndestination: dst").replace("sorce", "«sorce"),
        "unknown key 'sorce'",
        "prod.pipelines[0].sorce",
        "did you mean 'source'?",
    ),
    "an unknown key of settings": (
        project(settings="«memry: 1GB"),
        "unknown key 'memry'",
        "prod.settings.memry",
        "did you mean 'memory'?",
    ),
    "an unknown key of the backend": (
        project(settings="backend: {variant: sqlite, «databse: x}"),
        "unknown key 'databse'",
        "prod.settings.backend.databse",
        "did you mean 'database'?",
    ),
    "an unknown key of a connection": (
        project(connections="more: {variant: river, «hots: x}"),
        "unknown key 'hots'",
        "prod.connections.more.hots",
        "did you mean 'host'?",
    ),
    "an unknown key under extra": (
        project(connections="more: {variant: river, extra: {«mood: calm}}"),
        "unknown key 'mood'",
        "prod.connections.more.extra.mood",
        "did you mean 'mode'?",
    ),
    "an unknown key of an environment": (
        "prod:\n  «conections: {}\n",
        "unknown key 'conections'",
        "prod.conections",
        "did you mean 'connections'?",
    ),
    "an unknown key at the top": (
        "«defalt_environment: prod\nprod: {}\n",
        "unknown key 'defalt_environment'",
        "defalt_environment",
        "did you mean 'default_environment'?",
    ),
    "a section outside any environment": (
        "prod: {}\n«connections: {}\n",
        "connections is outside any environment",
        "connections",
        "put it inside an environment",
    ),
    "a missing target_name": (
        project("- «name: orders"),
        "target_name is required",
        f"{T}.target_name",
        "write target_name",
    ),
    "a missing variant": (
        project(connections="more: «{host: a}"),
        "variant is required",
        "prod.connections.more.variant",
        "",
    ),
    "a missing key that the plugin wants": (
        project(connections="more: {variant: tank, extra: «{format: csv}}"),
        "path is required",
        "prod.connections.more.extra.path",
        "",
    ),
    "a word where a number goes": (
        table("fetchsize: «many"),
        "fetchsize: expected a whole number, found 'many'",
        f"{T}.fetchsize",
        "",
    ),
    "a number where text goes": (
        table("custom_query: «5"),
        "expected text, found a number",
        f"{T}.custom_query",
        "quotes",
    ),
    "a boolean where text goes": (
        table("custom_query: «true"),
        "expected text, found the boolean 'true'",
        f"{T}.custom_query",
        "quotes",
    ),
    "text where a list goes": (
        table("tags: «api"),
        "tags: expected a list, found 'api'",
        f"{T}.tags",
        "write ['api']",
    ),
    "a mapping where a column goes": (
        table("iterate_column: «{a: b}"),
        "iterate_column: expected text or a list, found a mapping",
        f"{T}.iterate_column",
        "",
    ),
    "an empty item": (
        table("write_strategy: upsert\nwrite_key:\n  - id\n  -«"),
        "an empty item in a list",
        f"{T}.write_key[1]",
        "dash",
    ),
    "a number that is too small": (
        table("fetchsize: «0"),
        "fetchsize must be at least 1, found 0",
        f"{T}.fetchsize",
        "",
    ),
    "an empty name": (project("- {name: «'', target_name: x}"), "name must not be empty", f"{T}.name", ""),
    "pipelines that are no list": (
        "prod:\n  pipelines: «{name: p}\n",
        "pipelines is a list",
        "prod.pipelines",
        "dash",
    ),
    "connections that are no mapping": (
        "prod:\n  connections: «[a]\n",
        "connections is a mapping",
        "prod.connections",
        "",
    ),
    "settings that are no mapping": (
        "prod:\n  settings: «5\n",
        "expected a mapping, found one value",
        "prod.settings",
        "",
    ),
    "a wrong word": (
        table("write_strategy: «upsrt"),
        "unknown write_strategy 'upsrt'",
        f"{T}.write_strategy",
        "did you mean 'upsert'? one of append, replace, upsert, merge, delete_insert",
    ),
    "a wrong word of the plugin": (
        project(connections="more: {variant: river, extra: {mode: «calmm}}"),
        "unknown mode 'calmm'",
        "prod.connections.more.extra.mode",
        "did you mean 'calm'?",
    ),
    "a strategy of a later feature": (
        table("write_strategy: «scd2\nwrite_key: [id]"),
        "write_strategy scd2 is not available in this release: it comes with M5",
        f"{T}.write_strategy",
        "one of append",
    ),
    "a replication method of a later feature": (
        table("replication_method: «cdc"),
        "replication_method cdc is not available in this release: it comes with M14",
        f"{T}.replication_method",
        "one of full, incremental",
    ),
    "a type that is none": (
        table("columns: {price: «decimall(1)}"),
        "unknown type 'decimall(1)'",
        f"{T}.columns.price",
        "did you mean 'decimal(12,2)'?",
    ),
    "a size that is none": (
        project(settings="memory: «lots"),
        "a size is a number with a unit",
        "prod.settings.memory",
        "",
    ),
    "a duration that is none": (
        project(settings="lock_wait: «soon"),
        "a duration is a number with a unit",
        "prod.settings.lock_wait",
        "",
    ),
    "a zone that is none": (
        project(settings="timezone: «Mars/Base"),
        "no time zone 'Mars/Base'",
        "prod.settings.timezone",
        "UTC",
    ),
    "a transform without a function": (
        table("transform: «clean.py"),
        "transform is not of the form path.py::function, found 'clean.py'",
        f"{T}.transform",
        "",
    ),
    "a source that is no connection": (
        project(pipeline="source: «srcc\ndestination: dst"),
        "no connection 'srcc'",
        "prod.pipelines[0].source",
        "did you mean 'src'? connections: src, dst",
    ),
    "a destination that is no connection": (
        project(pipeline="source: src\ndestination: «warehouse"),
        "no connection 'warehouse'",
        "prod.pipelines[0].destination",
        "connections: src, dst",
    ),
    "incremental without iterate_column": (
        table("replication_method: «incremental"),
        "incremental needs iterate_column",
        f"{T}.replication_method",
        "",
    ),
    "incremental with replace": (
        table("replication_method: incremental\niterate_column: at\nwrite_strategy: «replace"),
        "incremental with replace would leave only what is new",
        f"{T}.write_strategy",
        "replication_method: full",
    ),
    "upsert without write_key": (table("write_strategy: «upsert"), "upsert needs write_key", f"{T}.write_strategy", ""),
    "merge without write_key": (table("write_strategy: «merge"), "merge needs write_key", f"{T}.write_strategy", ""),
    "delete_insert with nothing to delete by": (
        table("write_strategy: «delete_insert"),
        "delete_insert needs write_key or iterate_column",
        f"{T}.write_strategy",
        "",
    ),
    "an empty write_key": (
        table("write_strategy: upsert\nwrite_key: «[]"),
        "write_key must not be empty",
        f"{T}.write_key",
        "",
    ),
    "a window on nothing": (
        table("filter_lower_bound: «5"),
        "filter_lower_bound needs iterate_column",
        f"{T}.filter_lower_bound",
        "",
    ),
    "a look-back in hours of a number": (
        table("replication_method: incremental\niterate_column: id\niterate_column_type: int\nlookback: «1h"),
        "a lookback with a unit needs a cursor of datetime or date",
        f"{T}.lookback",
        "",
    ),
    "two queries": (
        table("custom_query: select 1\ncustom_query_file: «q.sql"),
        "custom_query and custom_query_file exclude each other",
        f"{T}.custom_query_file",
        "",
    ),
    "two transforms": (
        table("transform: a.py::f\ntransform_sql: «SELECT 1"),
        "transform and transform_sql exclude each other",
        f"{T}.transform_sql",
        "",
    ),
    "two replace modes": (
        table("if_exists: append\nreplace_mode: «swap"),
        "if_exists: append empties in place, replace_mode: swap does not",
        f"{T}.replace_mode",
        "",
    ),
    "a latest view of nothing": (
        table("latest_view: «true"),
        "latest_view needs dedup_columns",
        f"{T}.latest_view",
        "",
    ),
    "two pipelines of one name": (
        project() + "    - {name: «p, source: src, destination: dst}\n",
        "two pipelines are named 'p'",
        "prod.pipelines[1].name",
        "the first is at penstock.yaml:7:13",
    ),
    "two tables in one target": (
        project("- {name: a, target_name: t}\n- {name: b, target_name: «t}"),
        "two tables land in 't' of dst",
        "prod.pipelines[0].tables[1].target_name",
        "the first is at penstock.yaml:11:34",
    ),
    "two tables in one target, spelled with and without its schema": (
        project("- {name: a, target_name: t}\n- {name: b, target_name: «staging.t}"),
        "two tables land in 'staging.t' of dst",
        "prod.pipelines[0].tables[1].target_name",
        "",
    ),
    "an environment that is not there": (
        "default_environment: «prd\nprod: {}\n",
        "no environment 'prd'",
        "default_environment",
        "did you mean 'prod'?",
    ),
    "a variable that is not set": (
        project(settings="log_dir: «${LOGS}/x"),
        "the environment variable LOGS is not set",
        "prod.settings.log_dir",
        "${LOGS:-default}",
    ),
    "a variable of a used connection that is not set": (
        project().replace("{variant: river}", "{variant: river, host: «'${RIVER_HOST}'}"),
        "the environment variable RIVER_HOST is not set",
        "prod.connections.src.host",
        "",
    ),
    "a secret's variable that is not set": (
        project().replace("{variant: river}", "{variant: river, password: «'${RIVER_PW}'}"),
        "the environment variable RIVER_PW is not set",
        "prod.connections.src.password",
        "",
    ),
    "a variable that is not closed": (
        project(settings="log_dir: «'${LOGS'"),
        "a variable is written ${NAME} or ${NAME:-default}",
        "prod.settings.log_dir",
        "",
    ),
    "an old octal": (
        project(connections="more: {variant: river, port: «0123}"),
        "'0123' is octal to some YAML readers and decimal to others",
        "prod.connections.more.port",
        "put it in quotes to mean the text, or write 123",
    ),
    "an old octal where text goes": (
        project("- {name: «0123, target_name: t}"),
        "'0123' is octal to some YAML readers and decimal to others",
        f"{T}.name",
        "quotes",
    ),
    "yes where text goes": (
        project("- {name: «yes, target_name: t}"),
        "'yes' is a boolean to some YAML readers and a word to others",
        f"{T}.name",
        "quotes",
    ),
    "NO in a list": (table("tags: [se, «NO, fi]"), "'NO' is a boolean to some YAML readers", f"{T}.tags[1]", "quotes"),
    "on where a word of a choice goes": (
        table("schema_evolution: «on"),
        "'on' is a boolean to some YAML readers",
        f"{T}.schema_evolution",
        "quotes",
    ),
    "a time where text goes": (
        table("iterate_column: at\nfilter_lower_bound: «12:34:56"),
        "'12:34:56' is a base-60 number to some YAML readers and text to others",
        f"{T}.filter_lower_bound",
        "quotes",
    ),
    "a grouped number where text goes": (
        project("- {name: a, target_name: «2024_01}"),
        "'2024_01' is a number to some YAML readers and text to others",
        f"{T}.target_name",
        "quotes",
    ),
    "a key written twice": (
        project("- name: a\n  target_name: t\n  «name: b"),
        "the key 'name' is written twice",
        f"{T}.name",
        "keep one; the first is in line 11",
    ),
    "a key written twice far from the environment that is loaded": (
        project() + "staging:\n  settings: {}\n  «settings: {}\n",
        "the key 'settings' is written twice",
        "staging.settings",
        "",
    ),
    "a merge of no mapping": (project("- {<<: «5, name: a, target_name: t}"), "<< takes a mapping", f"{T}.<<", ""),
    "a variant of a later feature": (
        project().replace("src: {variant: river}", "src: {variant: «mysql}"),
        "the variant 'mysql' is not available in this release: it comes with M11b",
        "prod.connections.src.variant",
        "installed variants:",
    ),
    "a backend of a later feature": (
        project(settings="backend: {variant: «clickhouse}"),
        "the backend 'clickhouse' is not available in this release: it comes with M8",
        "prod.settings.backend.variant",
        "",
    ),
    "a version that is not known": ("version: «3\nprod: {}\n", "version 3 is not known", "version", "version: 2"),
}


@pytest.mark.feature("M1")
@pytest.mark.parametrize(("marked", "what", "path", "fix"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named_with_its_place_and_way_out(load: Load, marked: str, what: str, path: str, fix: str) -> None:
    text, place = place_of(marked)
    with pytest.raises(ConfigError) as caught:
        load(text)
    error = caught.value
    assert what in error.what
    assert error.where == f"penstock.yaml:{place}, {path}"
    assert fix in (error.fix or "")
    assert error.exit_code == 2


PLUGINS = {
    "a variant nobody has": ("«rivr", "no connector for the variant 'rivr' is installed", "did you mean 'river'?"),
    "a plugin whose extra is not installed": (
        "«dry",
        "variant 'dry' needs no_such_driver",
        "pip install 'penstock[dry]'",
    ),
    "a plugin that cannot be imported": ("«broken", "the plugin 'broken' cannot be imported", "pip install"),
}


@pytest.mark.feature("M10")
@pytest.mark.parametrize(("variant", "what", "fix"), PLUGINS.values(), ids=PLUGINS)
@pytest.mark.claims("error:PluginNotFoundError")
def test_a_plugin_that_is_not_there_is_a_plugin_error(load: Load, variant: str, what: str, fix: str) -> None:
    text, place = place_of(project().replace("src: {variant: river}", f"src: {{variant: {variant}}}"))
    with pytest.raises(PluginNotFoundError) as caught:
        load(text)
    assert what in caught.value.what
    assert caught.value.where == f"penstock.yaml:{place}, prod.connections.src.variant"
    assert fix in (caught.value.fix or "")


@pytest.mark.feature("M1")
def test_all_mistakes_come_at_once_in_the_order_of_the_file(load: Load) -> None:
    text = project(
        """\
        - {name: a, target_name: t, tags: x, write_strategy: upsrt}
        - {name: b, target_name: t, fetchsize: no, lookbak: 5}
        - {name: c, replication_method: incremental}
        """,
        settings="memory: lots",
    )
    with pytest.raises(ConfigError) as caught:
        load(text)
    error = caught.value
    places = [(int(line), int(column)) for line, column in re.findall(r"at: penstock\.yaml:(\d+):(\d+)", str(error))]
    assert error.what.startswith("8 mistakes in penstock.yaml\n")
    assert len(places) == 8
    assert places == sorted(places)
