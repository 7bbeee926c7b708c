"""The bus: everybody hears everything, and nobody can end a run."""

from __future__ import annotations

import logging
import threading

import pytest

from penstock.telemetry.events import (
    Bus,
    Event,
    LoadCommitted,
    RowsMoved,
    TableIdle,
    TableMeter,
    event_to_json,
)
from penstock.values import LoadId


def test_every_listener_hears_every_event_in_order() -> None:
    bus = Bus()
    first: list[Event] = []
    second: list[Event] = []
    bus.subscribe(first.append)
    bus.subscribe(second.append)
    bus.emit(TableIdle("a"))
    bus.emit(TableIdle("b"))
    assert first == second == [TableIdle("a"), TableIdle("b")]


def test_who_stopped_listening_hears_no_more() -> None:
    bus = Bus()
    heard: list[Event] = []
    stop = bus.subscribe(heard.append)
    bus.emit(TableIdle("a"))
    stop()
    bus.emit(TableIdle("b"))
    assert heard == [TableIdle("a")]


def test_a_listener_that_raises_is_reported_once_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    bus = Bus()
    heard: list[Event] = []

    def broken(event: Event) -> None:
        raise OSError("the disk is full")

    bus.subscribe(broken)
    bus.subscribe(heard.append)
    with caplog.at_level(logging.ERROR, logger="penstock"):
        bus.emit(TableIdle("a"))
        bus.emit(TableIdle("b"))
    assert heard == [TableIdle("a"), TableIdle("b")]
    assert [r.getMessage() for r in caplog.records] == [
        "a telemetry listener failed on TableIdle and is left out from now on"
    ]
    assert "the disk is full" in caplog.text


def test_a_meter_turns_what_an_engine_moves_into_events_from_any_thread() -> None:
    bus = Bus()
    heard: list[Event] = []
    bus.subscribe(heard.append)
    meter = TableMeter(bus, "orders")
    threads = [threading.Thread(target=meter.advance, args=(10, 100)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert heard == [RowsMoved("orders", 10, 100)] * 8


def test_an_event_as_json_carries_its_name_and_its_fields() -> None:
    assert event_to_json(LoadCommitted("orders", LoadId("abc"), 3, 0.5)) == {
        "event": "LoadCommitted",
        "table": "orders",
        "load": "abc",
        "rows": 3,
        "seconds": 0.5,
    }
