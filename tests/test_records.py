"""Our dataclasses do what the standard library's do."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from penstock.records import dataclass

Maker = Callable[..., Callable[[type], Any]]


def build(maker: Any, name: str, **options: bool) -> Any:
    """A class of three fields: one plain, one with a factory, one left out of comparison."""
    body = {
        "__module__": __name__,
        "__qualname__": name,
        "__annotations__": {"a": int, "b": list[int], "c": str},
        "b": dataclasses.field(default_factory=list, hash=False),
        "c": dataclasses.field(default="c", compare=False, repr=False),
        "doubled": lambda self: self.a * 2,
    }
    made = maker(**options)(type(name, (), body))
    globals()[name] = made  # where pickle looks for it
    return made


OPTIONS = [
    {},
    {"frozen": True},
    {"slots": True},
    {"frozen": True, "slots": True},
    {"slots": True, "eq": False},
    {"frozen": True, "slots": True, "order": True},
    {"frozen": True, "kw_only": True},
]


@pytest.fixture(params=OPTIONS, ids=lambda o: "-".join(o) or "plain")
def pair(request: pytest.FixtureRequest) -> tuple[Any, Any, dict[str, bool]]:
    """The same class, made by us and by the standard library."""
    return (
        build(dataclass, "Ours", **request.param),
        build(dataclasses.dataclass, "Theirs", **request.param),
        request.param,
    )


def seen(cls: Any) -> list[object]:
    one, same, other = cls(a=1, b=[2]), cls(a=1, b=[2], c="else"), cls(a=2)
    return [
        repr(one).replace("Theirs", "Ours"),
        one == same,
        one == other,
        one == 1,
        one.doubled(),
        dataclasses.asdict(one),
        dataclasses.astuple(dataclasses.replace(one, a=5)),
        [f.name for f in dataclasses.fields(cls)],
        copy.copy(one).a,
        copy.deepcopy(one).b,
        pickle.loads(pickle.dumps(one)).b,
        cls.__match_args__,
        hasattr(one, "__dict__"),
    ]


def test_instances_look_compare_copy_and_travel_alike(pair: tuple[Any, Any, dict[str, bool]]) -> None:
    ours, theirs, _ = pair
    assert seen(ours) == seen(theirs)


def test_what_has_a_hash_has_the_same(pair: tuple[Any, Any, dict[str, bool]]) -> None:
    ours, theirs, options = pair
    if options.get("eq", True) and not options.get("frozen"):
        for cls in (ours, theirs):
            with pytest.raises(TypeError, match="unhashable"):
                hash(cls(a=1))
    elif options.get("eq", True):
        assert hash(ours(a=1, b=[2])) == hash(theirs(a=1, b=[2])) == hash(ours(a=1, b=[3]))


@pytest.mark.parametrize("slots", [True, False])
def test_a_frozen_one_cannot_be_changed(slots: bool) -> None:
    one = build(dataclass, "Frozen", frozen=True, slots=slots)(a=1)
    with pytest.raises(dataclasses.FrozenInstanceError, match="'a'"):
        one.a = 2
    with pytest.raises(dataclasses.FrozenInstanceError, match="'c'"):
        one.c = "set by default, and for good"
    with pytest.raises(dataclasses.FrozenInstanceError, match="'new'"):
        one.new = 1
    with pytest.raises(dataclasses.FrozenInstanceError, match="'a'"):
        del one.a
    assert (one.a, one.c) == (1, "c")


def test_a_frozen_one_of_an_open_class_below_cannot_be_changed_either() -> None:
    below = type("Below", (build(dataclass, "Above", frozen=True, slots=True),), {})
    one = below(a=1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.a = 2


def test_methods_of_the_class_itself_are_kept() -> None:
    @dataclass(frozen=True, slots=True)
    class Named:
        name: str

        def __repr__(self) -> str:
            return f"<{self.name}>"

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Named) and other.name.lower() == self.name.lower()

        def __hash__(self) -> int:
            return hash(self.name.lower())

    assert repr(Named("a")) == "<a>"
    assert {Named("a"), Named("A")} == {Named("a")}
    assert dataclasses.replace(Named("a"), name="b") == Named("B")
