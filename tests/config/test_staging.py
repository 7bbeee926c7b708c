"""`settings.staging`: a folder of this machine, or a URL that several reach."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.errors import ConfigError
from tests.config.conftest import Load


@pytest.mark.feature("M9")
@pytest.mark.parametrize(
    ("staging", "local", "shared"),
    [
        ("work", "work", None),
        ("s3://lake/work", None, "s3://lake/work"),
        ("abfss://lake@account.dfs.core.windows.net/work", None, "abfss://lake@account.dfs.core.windows.net/work"),
    ],
)
def test_staging_is_a_folder_of_this_machine_or_a_url_of_several(
    staging: str, local: str | None, shared: str | None, load: Load, tmp_path: Path
) -> None:
    settings = load(f"version: 2\ndefault_environment: dev\ndev:\n  settings: {{staging: '{staging}'}}\n").settings
    assert settings.local_staging == (str(tmp_path / local) if local else None)
    assert settings.shared_staging == shared


@pytest.mark.parametrize("staging", ["s3://key:secret@lake/work", "s3://key@lake/work", "hdfs://u:secret@host/work"])
def test_keys_in_the_address_of_staging_are_refused_and_not_repeated(staging: str, load: Load) -> None:
    with pytest.raises(ConfigError, match="no key in the address") as caught:
        load(f"version: 2\ndefault_environment: dev\ndev:\n  settings: {{staging: '{staging}'}}\n")
    assert "secret" not in str(caught.value)


def test_an_address_that_nothing_opens_is_refused(load: Load) -> None:
    with pytest.raises(ConfigError, match="s3://"):
        load("version: 2\ndefault_environment: dev\ndev:\n  settings: {staging: 'gopher://host/work'}\n")
