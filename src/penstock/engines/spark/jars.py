"""Where jars lie that `penstock install-jars` fetched."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "PENSTOCK_JARS"


def jars_folder() -> Path:
    """PENSTOCK_JARS, else a folder among this user's data."""
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named)
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data, "penstock", "jars")
