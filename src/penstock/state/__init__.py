"""The control database: run history that can be lost without harm to any table."""
