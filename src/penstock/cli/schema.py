"""`penstock schema`: the JSON Schema of a project file."""

from __future__ import annotations

import json
import sys

from penstock.cli.options import Call, plain_command
from penstock.config import project_schema

EPILOG = "Save it and name it in the project file: # yaml-language-server: $schema=penstock.schema.json"


@plain_command
def command(call: Call) -> int:  # noqa: ARG001 - it is JSON either way
    sys.stdout.write(json.dumps(project_schema(), indent=2) + "\n")
    return 0
