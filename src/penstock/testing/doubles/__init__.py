"""Six hard cases the contracts must hold, each working: see the module of its name."""

from penstock.testing.doubles.change_log import ChangeLog, ChangeLogSource
from penstock.testing.doubles.documents import DocumentSource, final_plan
from penstock.testing.doubles.fan_out import SharedRead, deliver_to_all
from penstock.testing.doubles.prepared import PreparedDestination
from penstock.testing.doubles.processes import Fate, ProcessEngine
from penstock.testing.doubles.subscriber import GroupTotals

__all__ = [
    "ChangeLog",
    "ChangeLogSource",
    "DocumentSource",
    "Fate",
    "GroupTotals",
    "PreparedDestination",
    "ProcessEngine",
    "SharedRead",
    "deliver_to_all",
    "final_plan",
]
