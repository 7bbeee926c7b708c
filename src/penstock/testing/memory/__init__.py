"""Systems in memory with the whole semantics of real ones: what tests use in place of mocks."""

from penstock.testing.memory.destination import MemoryDestination
from penstock.testing.memory.source import MemorySource
from penstock.testing.memory.store import MemoryStore

__all__ = ["MemoryDestination", "MemorySource", "MemoryStore"]
