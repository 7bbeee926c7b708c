"""Project files made to exhaust their reader: each is refused by its place, soon and within little memory."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from penstock.telemetry.logs import Redactor
from penstock.testing.project import ProjectFolder

pytestmark = pytest.mark.feature("M1")

SECONDS = 60  # on a busy machine; each takes a few
MEMORY_BYTES = 1 << 30

ALIASES = "x-0: &l0 [a]\n" + "".join(f"x-{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 20)}]\n" for n in range(1, 12))
CHAIN = "m0: &m0 {k0: v}\n" + "".join(f"m{n}: &m{n} {{<<: *m{n - 1}, k{n}: 1}}\n" for n in range(1, 2_000))
MANY_KEYS = ", ".join(f"k{n}: 1" for n in range(2_000))
WIDE = f"x-m: &m {{{MANY_KEYS}}}\n" + "".join(f"x-{n}: {{<<: *m}}\n" for n in range(200))
BOMBS = {
    "aliases of aliases": (ALIASES + "prod:\n  settings: {timezone: *l11}\n", "aliases make this file larger"),
    "merges of merges": (CHAIN + "prod: {<<: *m1999}\n", "merge keys make this file larger"),
    "one mapping merged often": (WIDE + "prod: {}\n", "merge keys make this file larger"),
    "deep nesting": ("prod: " + "[" * 50_000 + "]" * 50_000 + "\n", "nested more than 60 levels deep"),
    "a key of a megabyte": ("prod:\n  ? " + "k" * 1_000_000 + "\n  : 1\n", "a key of more than 1000 characters"),
    "very many unknown keys": ("prod:\n" + "".join(f"  k{n}: 1\n" for n in range(5_000)), "at least 100 mistakes"),
    "a value of a megabyte": (f"prod: {{settings: {{timezone: '{'x' * 1_000_000}'}}}}\n", "no time zone 'xxx"),
    "a number of a million digits": ("prod: {settings: {retries: " + "9" * 1_000_000 + "}}\n", "found '999"),
    "a tag": ("prod: !!python/object/apply:os.system ['touch pwned']\n", "YAML tags are not allowed"),
    "a tag under another handle": (
        "%TAG ! tag:yaml.org,2002:python/\n---\nprod: !object/apply:os.system ['touch pwned']\n",
        "YAML tags are not allowed",
    ),
    "a key written twice": (
        "prod:\n  connections:\n    a: {variant: sqlite, database: x}\n    a: {variant: sqlite, database: y}\n",
        "the key 'a' is written twice",
    ),
}


def plan_within_limits(folder: Path) -> tuple[int, str, float]:
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "penstock", "plan"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES)),
        check=False,
    )
    return done.returncode, done.stderr, time.monotonic() - began


ALSO_AT_HOME = ("aliases of aliases", "deep nesting", "a tag", "a key written twice")  # in tests/config, by function


@pytest.mark.parametrize(
    "bomb", [pytest.param(bomb, marks=[pytest.mark.faults] if bomb in ALSO_AT_HOME else []) for bomb in BOMBS]
)
def test_a_file_that_would_exhaust_its_reader_is_refused_by_its_place(tmp_path: Path, bomb: str) -> None:
    text, what = BOMBS[bomb]
    (tmp_path / "penstock.yaml").write_text(text)
    code, said, _ = plan_within_limits(tmp_path)
    assert code == 2, said[:2_000]
    assert what in said
    assert re.search(r"at: penstock\.yaml:\d+:\d+", said), said[:2_000]
    assert len(said) < 50_000
    assert not (tmp_path / "pwned").exists()


def test_more_values_than_allowed_are_refused_while_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from penstock.config.load import load_project
    from penstock.errors import ConfigError

    monkeypatch.setattr("penstock.config.document.MAX_NODES", 1_000)
    file = ProjectFolder(tmp_path).write("prod: [" + "1, " * 2_000 + "1]\n")
    with pytest.raises(ConfigError, match="more than 1000 values") as caught:
        load_project(file)
    assert re.search(r"penstock\.yaml:1:\d+", str(caught.value.where))


def test_what_a_variable_holds_is_not_told_by_a_mistake_in_it(tmp_path: Path) -> None:
    project = ProjectFolder(tmp_path, warm=True)
    project.write("default_environment: dev\ndev: {settings: {timezone: '${ZONE}'}}\n")
    done = project.run("plan", env={"ZONE": "zq7-secret-canary"})
    assert done.exit_code == 2
    assert "no time zone '${ZONE}'" in done.stderr
    assert "zq7-secret-canary" not in done.said


def test_a_long_text_is_searched_for_passwords_in_linear_time() -> None:
    began = time.process_time()
    Redactor().redact("x" * 1_000_000)
    assert time.process_time() - began < 5
