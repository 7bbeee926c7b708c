"""What the pages tell people to write or type does what they say: every fenced block runs or loads."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent, indent

import pytest
from ruamel.yaml import YAML
from tests.conftest import ROOT

from penstock.cli.init import PROJECT, write_project
from penstock.pipeline.project import Project
from penstock.pipeline.results import RunOptions, Selection
from penstock.testing.project import ProjectFolder

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
GENERATED = ("cli.md", "project.md", "types.md", "connectors.md", "features.md")
# The design's blocks are layouts and the shapes of protocols.
SKETCHES = (ROOT / "docs" / "explanation" / "design.md",)
SKELETON = """\
version: 2
default_environment: dev
dev:
  connections:
    here: {variant: postgres, host: localhost, database: shop, user: me}
    there: {variant: duckdb, database: there.duckdb}
  pipelines:
    - name: snippet
      source: here
      destination: there
      tables:
"""
TABLE = """\
- name: public.orders
  target_name: orders
  replication_method: incremental
  iterate_column: updated_at
  iterate_column_type: datetime
"""


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [Block(page, text[: m.start()].count("\n") + 1, m[1], m[2]) for m in FENCE.finditer(text)]


BLOCKS = [block for page in PAGES if page not in SKETCHES for block in blocks_of(page)]


def of(*languages: str) -> list[Block]:
    return [block for block in BLOCKS if block.language in languages]


def test_every_block_is_of_a_kind_that_is_tried() -> None:
    known = {"yaml", "python", "console", "sh"}
    plain = [b for b in BLOCKS if b.language not in known and b.page.name not in GENERATED]
    assert [str(b) for b in plain if b.language or "penstock " in b.text] == []
    assert len(BLOCKS) > 20


@pytest.mark.feature("M10")
@pytest.mark.parametrize("block", of("yaml"), ids=str)
def test_yaml_loads(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in re.findall(r"\$\{(\w+)\}", block.text):
        monkeypatch.setenv(name, "that is set")
    found = YAML(typ="safe").load(block.text)
    if "cases" in found:
        return  # tried by test_transforms_and_their_fixture_run
    text = block.text if "version" in found else SKELETON + indent(as_table(block.text), " " * 8)
    (tmp_path / "penstock.yaml").write_text(text, encoding="utf-8")
    transforms = tmp_path / "transforms"
    transforms.mkdir()
    (transforms / "products.py").write_text("import duckdb\n" + DEFINITION, encoding="utf-8")
    project = Project.open(tmp_path / "penstock.yaml")
    assert project.steps(Selection(), RunOptions())


DEFINITION = "def clean(df: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:\n    return df\n"


def as_table(text: str) -> str:
    """A snippet as an item of `tables:`; keys alone are those of a table the page has shown before."""
    return text if text.startswith("- ") else TABLE + indent(dedent(text), "  ")


@pytest.mark.feature("M10")
@pytest.mark.parametrize("block", [b for b in of("python") if b.page.name != "files.md"], ids=str)
def test_python_runs_in_the_project_that_init_writes(block: Block, tmp_path: Path) -> None:
    write_project(tmp_path)
    command = [sys.executable, "-c", block.text]
    of_place = {"PYSPARK_PYTHON": sys.executable} if block.page.name == "clusters.md" else {}
    env = os.environ | of_place
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.feature("M10")
@pytest.mark.parametrize("page", [p for p in PAGES if any(b.page == p for b in of("console"))], ids=lambda p: p.name)
def test_commands_run_one_after_the_other(page: Path, tmp_path: Path) -> None:
    """In the project that init writes: the page makes it, or begins where one has been run. Its scripts come last."""
    blocks = [b for b in of("console", "sh") if b.page == page and not is_install(b)]
    lines = [line.partition("#")[0].strip() for b in blocks if b.language == "console" for line in b.text.splitlines()]
    project = ProjectFolder(tmp_path)
    if not any(line.startswith("penstock init") for line in lines):
        write_project(tmp_path)
        assert project.run("run").exit_code == 0
    for line in lines:
        verb, *words = line.split()
        if verb == "cd":
            project = ProjectFolder(project.path / words[0])
        elif verb == "penstock":
            done = project.run(*(last_run(project) if word == "RUN" else word for word in words))
            assert done.exit_code == 0, f"{line}\n{done.said}"
        else:
            assert verb == "make", f"{page}: nobody tries {line!r}"
    for script in [b for b in blocks if b.language == "sh"]:
        assert "equal" in (said := run_script(script, project.path)) or "verify" not in script.text, said


def is_install(block: Block) -> bool:
    """What installs is tried by tests/e2e/test_wheel.py; nothing else may stand beside it."""
    if "pip install" not in block.text:
        return False
    assert {line.split()[0] for line in block.text.splitlines()} <= {"python3", ".", "pip"}, block
    return True


def run_script(block: Block, folder: Path) -> str:
    """A shell script of a page, up to its last command, which must succeed."""
    script = re.sub(r"^penstock ", f"{sys.executable} -m penstock ", block.text, flags=re.MULTILINE)
    script = script.replace("python3 -", f"{sys.executable} -")
    command = ["sh", "-c", script]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def last_run(project: ProjectFolder) -> str:
    found = re.search(r'"run_id": "(\w+)"', project.run("runs", "--json").stdout)
    assert found
    return found[1]


@pytest.mark.feature("M10")
def test_the_page_on_files_does_what_it_says(tmp_path: Path) -> None:
    yaml, shell, python = (b for b in BLOCKS if b.page.name == "files.md" and b.language in ("yaml", "sh", "python"))
    (tmp_path / "penstock.yaml").write_text(yaml.text, encoding="utf-8")
    script = shell.text.replace("penstock run", f"{sys.executable} -m penstock run")
    for command in (["sh", "-ec", script], [sys.executable, "-c", python.text]):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "3" in done.stdout


@pytest.mark.feature("M10", "M7")
def test_transforms_and_their_fixture_run(tmp_path: Path) -> None:
    """The page's function and its cases, under `penstock test`."""
    page = [b for b in BLOCKS if b.page.name == "transforms.md"]
    code = next(b.text for b in page if b.language == "python")
    cases = next(b.text for b in page if b.text.startswith("cases:"))
    project = ProjectFolder(tmp_path)
    table = next(b.text for b in page if b.language == "yaml")
    project.write(SKELETON + indent(table, " " * 8))
    project.write(code, "transforms/products.py")
    project.write(cases, "transforms/products.clean.yaml")
    done = project.run("test")
    assert done.exit_code == 0, done.said
    assert "deleted products are dropped" in done.said


def test_the_heart_of_the_project_in_the_readme_is_what_init_writes() -> None:
    (heart,) = (b.text for b in of("yaml") if b.page.name == "README.md")
    written = iter(PROJECT.splitlines())
    assert [line for line in heart.splitlines() if line and line not in written] == []


def test_every_link_leads_to_a_page() -> None:
    lost = [
        f"{page.name}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert lost == []
