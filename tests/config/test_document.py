"""What is not YAML, or more of it than allowed, is refused with its place."""

from __future__ import annotations

import re

import pytest

from penstock.errors import ConfigError
from tests.config.conftest import Load

NOT_YAML = {
    "a bracket that is not closed": ("prod: [1\n", "not YAML: "),
    "a variable in braces without quotes": ("prod: {settings: {log_dir: ${LOGS}}}\n", "not YAML: "),
    "a tab": ("prod:\n\tsettings: {}\n", "not YAML: "),
    "a tag": ("prod: !!python/object/apply:os.system ['true']\n", "YAML tags are not allowed"),
    "a tag of a known type": ("prod: {settings: {retries: !!int '5'}}\n", "YAML tags are not allowed"),
    "an unknown alias": ("prod: *nothing\n", "no anchor &nothing above this alias"),
    "an alias that holds itself": ("prod: &a {settings: *a}\n", "the alias *a holds itself"),
    "two documents": ("prod: {}\n---\nprod: {}\n", "a project file is one YAML document"),
    "a key that is a list": ("prod: {[a, b]: 1}\n", "a key must be plain text"),
    "too deep": ("prod: " + "[" * 100 + "]" * 100 + "\n", "nested more than"),
    "a list": ("- prod\n", "a project file is a mapping"),
    "nothing": ("", "a project file is a mapping"),
    "one word": ("hello\n", "a project file is a mapping"),
}


@pytest.mark.feature("M1")
@pytest.mark.parametrize(("text", "what"), NOT_YAML.values(), ids=NOT_YAML)
def test_what_is_not_a_project_is_refused_with_its_place(load: Load, text: str, what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(text)
    assert caught.value.what.startswith(what)
    assert re.match(r"penstock\.yaml:\d+:\d+", caught.value.where or "")


@pytest.mark.feature("M1")
def test_aliases_cannot_make_a_small_file_large(load: Load) -> None:
    levels = "\n".join(f"x-{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 20)}]" for i in range(1, 12))
    text = f"x-0: &l0 [a]\n{levels}\nprod:\n  settings: {{timezone: *l11}}\n"
    with pytest.raises(ConfigError, match="aliases make this file larger"):
        load(text)


@pytest.mark.feature("M1")
def test_a_file_that_is_too_large_is_refused(load: Load) -> None:
    with pytest.raises(ConfigError, match="larger than 5 MB"):
        load("# " + "x" * (5 << 20) + "\nprod: {}\n")


@pytest.mark.feature("M1")
def test_a_variable_in_braces_is_told_to_be_put_in_quotes(load: Load) -> None:
    with pytest.raises(ConfigError) as caught:
        load("prod: {settings: {log_dir: ${LOGS}}}\n")
    assert caught.value.fix == "inside { } and [ ] put ${...} in quotes"
