"""Dataclasses that are quick to make: their methods are shared, where the standard library compiles them anew.

A run makes two hundred of them, which took a third of its CPU: 0.8 ms each for frozen ones, 0.2 ms now. Options and
behaviour are the standard library's, and its `fields`, `replace` and `asdict` work. Objects of frozen ones take longer
to make (0.5 us a field, for 0.1): a class of which a run makes thousands takes the standard library's decorator.
"""

from __future__ import annotations

import dataclasses
import functools
from types import MemberDescriptorType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(cls: type | None = None, /, **options: bool) -> Any:
        if cls is None:
            return lambda named: dataclass(named, **options)
        wishes = dict(options)
        frozen, by_value, shown = (wishes.pop(n, n != "frozen") for n in ("frozen", "eq", "repr"))
        if wishes.keys() - {"slots", "kw_only"}:
            return dataclasses.dataclass(cls, **options)
        shared = {"__repr__": _show} if shown else {}
        if by_value:
            shared |= {"__eq__": _is_equal, "__hash__": _hash if frozen else None}
        if frozen:
            set_once = _set_slot_once if options.get("slots") else _set_once
            shared |= {"__setattr__": set_once, "__delattr__": _refuse_to_delete}
        if not cls.__doc__:
            cls.__doc__ = cls.__name__  # or the standard library writes the signature there, which takes 0.1 ms
        for name, method in shared.items():
            if name not in cls.__dict__ or (name == "__hash__" and cls.__dict__[name] is None):
                setattr(cls, name, method)
        return dataclasses.dataclass(cls, eq=False, repr=False, **wishes)


_assign = object.__setattr__


def _show(self: Any) -> str:
    shown = ", ".join(f"{f.name}={getattr(self, f.name)!r}" for f in dataclasses.fields(self) if f.repr)
    return f"{type(self).__qualname__}({shown})"


def _is_equal(self: Any, other: object) -> Any:
    if other.__class__ is not self.__class__:
        return NotImplemented
    cls: Any = type(self)
    names = _compared(cls)
    return [getattr(self, name) for name in names] == [getattr(other, name) for name in names]


def _hash(self: Any) -> int:
    cls: Any = type(self)
    return hash(tuple(getattr(self, name) for name in _hashed(cls)))


@functools.cache
def _compared(cls: Any) -> tuple[str, ...]:
    return tuple(f.name for f in dataclasses.fields(cls) if f.compare)


@functools.cache
def _hashed(cls: Any) -> tuple[str, ...]:
    return tuple(f.name for f in dataclasses.fields(cls) if (f.compare if f.hash is None else f.hash))


def _set_once(self: Any, name: str, value: object) -> None:
    """What `__init__` sets, nobody sets again. A default may stand in the class: only the instance's values count."""
    is_slot = isinstance(getattr(type(self), name, None), MemberDescriptorType)
    if name not in type(self).__dataclass_fields__ or (hasattr(self, name) if is_slot else name in self.__dict__):
        raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
    _assign(self, name, value)


def _set_slot_once(self: Any, name: str, value: object) -> None:
    """The same where every field is a slot, and an empty one is not found. Runs for each field of each object."""
    if hasattr(self, name) or name not in type(self).__dataclass_fields__:
        raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
    _assign(self, name, value)


def _refuse_to_delete(self: Any, name: str) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r} of {type(self).__qualname__}")


__all__ = ["dataclass"]
