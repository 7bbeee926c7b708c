"""What every connector must do: inherit these classes, override the fixture `seat`, run them with pytest."""

from penstock.testing.suites.destination import (
    DestinationSeat,
    DestinationSuite,
    EvolvingDestinationSuite,
    KeyedDestinationSuite,
    WideningDestinationSuite,
)
from penstock.testing.suites.ledger import LedgerSuite
from penstock.testing.suites.pieces import PieceDestinationSuite
from penstock.testing.suites.source import (
    IncrementalSourceSuite,
    LiveSourceSuite,
    SnapshotSourceSuite,
    SourceSeat,
    SourceSuite,
)

__all__ = [
    "DestinationSeat",
    "DestinationSuite",
    "EvolvingDestinationSuite",
    "IncrementalSourceSuite",
    "KeyedDestinationSuite",
    "LedgerSuite",
    "LiveSourceSuite",
    "PieceDestinationSuite",
    "SnapshotSourceSuite",
    "SourceSeat",
    "SourceSuite",
    "WideningDestinationSuite",
]
