"""A secret is fetched when it is used and shown by nothing."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import traceback
from pathlib import Path

import pytest

from penstock.config import ProjectConfig
from penstock.errors import ConfigError
from penstock.values import Secret
from tests.config.conftest import Load

CANARY = "canary-7f3a"

PROJECT = """\
prod:
  settings:
    backend: {variant: sqlite, database: state.db}
  connections:
    a:
      variant: river
      host: localhost
      password: PASSWORD
      pin: PIN
      extra: {token: TOKEN, certificate: CERTIFICATE, mode: wild}
    b: {variant: mongodb, mongo_uri: "mongodb://u:URI@h/", aws_access_key: KEY, extra: {api_token: KEY, depth: 5}}
  pipelines:
    - {name: p, source: a, destination: a, tables: [{name: t, target_name: u}]}
"""
MARKS = ("PASSWORD", "PIN", "TOKEN", "CERTIFICATE", "URI", "KEY")


def with_canaries(text: str = PROJECT) -> str:
    for mark in MARKS:
        text = text.replace(mark, f"{CANARY}-{mark.lower()}")
    return text


def everything_shown(project: ProjectConfig) -> str:
    shown = [repr(project), str(project), f"{project}"]
    for connection in project.connections.values():
        shown += [repr(connection), str(connection), repr(connection.to_connection()), str(connection.to_connection())]
        shown += [repr(connection.model_dump()), json.dumps(connection.model_dump(mode="json", by_alias=True))]
        shown += [connection.model_dump_json(), repr(dict(connection)), repr(copy.deepcopy(connection))]
    shown += [project.settings.model_dump_json(), *project.warnings, repr(project.waiting)]
    return "\n".join(shown)


@pytest.mark.feature("M1")
def test_no_secret_written_into_the_project_is_shown(load: Load) -> None:
    project = load(with_canaries())
    assert CANARY not in everything_shown(project)
    connection = project.connections["a"].to_connection()
    revealed = [connection.password, *(connection.extra[k] for k in ("pin", "token", "certificate"))]
    assert [s.reveal() for s in revealed if isinstance(s, Secret)] == [
        f"{CANARY}-password",
        f"{CANARY}-pin",
        f"{CANARY}-token",
        f"{CANARY}-certificate",
    ]


@pytest.mark.feature("M1")
def test_no_secret_from_a_variable_is_shown(load: Load) -> None:
    text = PROJECT.replace("PASSWORD", "${PW}").replace("PIN", "zzfix${PW}").replace("TOKEN", '"${PW}"')
    project = load(text.replace("CERTIFICATE", '"${NOT_SET:-' + CANARY + '}"'), environ={"PW": CANARY})
    assert CANARY not in everything_shown(project)
    assert "zzfix" not in everything_shown(project)
    assert "Secret(${PW})" in repr(project.connections["a"])
    assert project.connections["a"].model_dump(mode="json")["password"] == "${PW}"


@pytest.mark.feature("M1")
def test_no_log_line_and_no_format_shows_a_secret(load: Load, caplog: pytest.LogCaptureFixture) -> None:
    connection = load(with_canaries()).connections["a"].to_connection()
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("penstock").warning("%s %r %s", connection, connection, connection.password)
    assert CANARY not in caplog.text
    assert CANARY not in f"{connection.password:>40}"


BROKEN = {
    "a wrong key beside it": with_canaries(PROJECT.replace("host: localhost", "hots: localhost")),
    "a wrong value beside it": with_canaries(PROJECT.replace("mode: wild", "mode: wilt")),
    "a mapping in its place": PROJECT.replace("PASSWORD", f"{{a: {CANARY}}}"),
    "a list in its place": PROJECT.replace("PASSWORD", f"[{CANARY}]"),
    "a list in place of a provider's": PROJECT.replace("TOKEN", f"[{CANARY}]"),
    "a number": PROJECT.replace("PASSWORD", "7373.7373"),
    "an octal number": PROJECT.replace("PASSWORD", "073737373"),
    "a time": PROJECT.replace("PIN", "7373:37:37"),
    "a variable that is not closed": PROJECT.replace("PASSWORD", f"'{CANARY}${{PW'"),
    "a variable that is not set": PROJECT.replace("PASSWORD", f"'{CANARY}${{PW}}'"),
    "a plugin that is not there": with_canaries(PROJECT.replace("variant: river", "variant: rivr")),
    "a connection that is a list": PROJECT.replace("variant: river", f"{CANARY}: [5"),
    "no YAML": PROJECT.replace("PASSWORD", f'"{CANARY}'),
}


@pytest.mark.feature("M1")
@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_no_error_shows_a_secret(load: Load, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(text)
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + repr(caught.value.__cause__)
    assert CANARY not in shown
    assert "7373" not in shown


@pytest.mark.feature("M1")
def test_a_secret_cannot_be_pickled(load: Load) -> None:
    project = load(with_canaries())
    for value in (project.connections["a"], project.connections["a"].to_connection(), project):
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            with pytest.raises((TypeError, AttributeError, pickle.PicklingError)) as caught:
                pickle.dumps(value, protocol)
            assert CANARY not in str(caught.value)


@pytest.mark.feature("M9")
def test_a_reference_travels_without_its_value_and_is_fetched_where_it_arrives(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = password(load, "${RIVER}", environ={"RIVER": CANARY}).unresolved()
    assert found is not None
    sent = pickle.dumps(found)
    assert CANARY.encode() not in sent
    monkeypatch.setenv("RIVER", "the value there")
    assert pickle.loads(sent).reveal() == "the value there"
    monkeypatch.delenv("RIVER")
    with pytest.raises(ConfigError, match="where the tasks run, the environment variable RIVER is not set") as caught:
        pickle.loads(sent).reveal()
    assert caught.value.fix


def test_a_secret_that_is_written_in_the_project_has_no_reference_to_travel(load: Load) -> None:
    assert password(load, CANARY).unresolved() is None


def password(load: Load, written: str, **more: object) -> Secret:
    project = load(PROJECT.replace("PASSWORD", written), **more)
    found = project.connections["a"].password
    assert found is not None
    return found


@pytest.mark.feature("M1")
def test_a_reference_is_fetched_at_each_use(load: Load, tmp_path: Path) -> None:
    environ = {"PW": "one"}
    (tmp_path / "pw.txt").write_text("three\n")
    variable = password(load, "${PW}", environ=environ)
    named = password(load, "env:PW", environ=environ)
    in_file = password(load, "file:pw.txt")
    provided = password(load, "vault:path/to#key")
    assert [s.reveal() for s in (variable, named, in_file, provided)] == [
        "one",
        "one",
        "three",
        "secret of path/to#key",
    ]
    environ["PW"] = "two"
    (tmp_path / "pw.txt").write_text("four")
    assert [s.reveal() for s in (variable, named, in_file)] == ["two", "two", "four"]
    assert [s.reference for s in (variable, named, in_file)] == ["${PW}", "env:PW", "file:pw.txt"]


@pytest.mark.feature("M1")
def test_what_a_variable_holds_is_never_a_reference(load: Load, tmp_path: Path) -> None:
    (tmp_path / "pw.txt").write_text("not this")
    assert password(load, "${PW}", environ={"PW": "file:pw.txt"}).reveal() == "file:pw.txt"
    assert password(load, "a:b").reveal() == "a:b"


FAILING = {
    "env:NOT_SET": "the environment variable NOT_SET is not set",
    "file:nothing.txt": "the secret's file cannot be read: No such file or directory",
    "file:binary": "the secret's file is not UTF-8",
    "leaky:x": "the secret provider 'leaky' failed: RuntimeError",
}


@pytest.mark.feature("M1")
@pytest.mark.parametrize(("written", "what"), FAILING.items(), ids=FAILING)
def test_a_reference_that_leads_nowhere_is_named_when_it_is_used(
    load: Load, tmp_path: Path, written: str, what: str
) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe" + CANARY.encode())
    secret = password(load, written)
    with pytest.raises(ConfigError) as caught:
        secret.reveal()
    assert caught.value.what.startswith(what)
    assert caught.value.where == "penstock.yaml:8:17"
    assert "canary" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.feature("M1")
def test_dotenv_stands_behind_the_environment_and_changes_nothing_of_it(load: Load) -> None:
    dotenv = (
        '# comment\n\nexport PW=\'a b # c\'\nQUOTED="x\\ty\\"z"  # note\nPLAIN=plain value # note\nEMPTY=\nPORT=7009\n'
    )
    environ = {"PLAIN": "from the environment"}
    assert password(load, "${PW}", environ=environ, dotenv=dotenv).reveal() == "a b # c"
    assert password(load, "${QUOTED}", environ=environ).reveal() == 'x\ty"z'
    assert password(load, "${PLAIN}", environ=environ).reveal() == "from the environment"
    assert password(load, "${EMPTY:-instead}", environ=environ).reveal() == "instead"
    assert password(load, "${EMPTY}", environ=environ).reveal() == ""
    assert password(load, "$${PW}", environ=environ).reveal() == "${PW}"
    assert environ == {"PLAIN": "from the environment"}


@pytest.mark.feature("M1")
def test_a_line_of_dotenv_that_is_none_is_named_without_its_text(load: Load) -> None:
    with pytest.raises(ConfigError) as caught:
        password(load, "${PW}", dotenv=f"A=1\n{CANARY} no line\n")
    assert caught.value.what == "a line of .env is not NAME=value"
    assert (caught.value.where or "").endswith(".env:2:1")
    assert CANARY not in str(caught.value)
