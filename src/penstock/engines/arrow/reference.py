"""`path.py::function`: a user's function, loaded fresh, and what its signature asks for."""

from __future__ import annotations

import ast
import contextlib
import inspect
import itertools
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any

from penstock.config.paths import within
from penstock.engines.arrow.frames import FRAME_NAMES, FRAMES, FrameKind
from penstock.engines.arrow.usererror import user_error, user_line
from penstock.errors import ConfigError, PluginNotFoundError
from penstock.records import dataclass

PYSPARK = "pyspark"
NO_MORE: Mapping[str, FrameKind] = MappingProxyType({})
_numbers = itertools.count()
_path_guard = threading.Lock()
_neighbours: set[str] = set()


@dataclass(frozen=True, slots=True)
class UserFunction:
    """A function of the user's file, the frame it wants, and whether it takes the context."""

    reference: str
    path: Path
    line: int
    function: Callable[..., Any]
    frame: FrameKind
    takes_context: bool

    @property
    def where(self) -> str:
        return f"{self.path}:{self.line}"


def load_user_function(
    reference: str, base_dir: str, default_frame: str | None, *, more: Mapping[str, FrameKind] = NO_MORE
) -> UserFunction:
    """Raises ConfigError for what the reference or the signature says, TransformError for what the file does.

    `more` are frames beyond this engine's own, by `package.Class`.
    """
    path, name = _parse(reference, base_dir)
    module = _execute(path, reference)
    function = getattr(module, name, None)
    if not inspect.isfunction(function):
        found = [key for key, value in vars(module).items() if inspect.isfunction(value) and key[0] != "_"]
        close = get_close_matches(name, found, 1)
        raise ConfigError(
            f"no function {name!r} in {path.name}",
            where=f"{path}, named by {reference!r}",
            fix=f"did you mean {close[0]!r}?" if close else f"functions there: {', '.join(found) or 'none'}",
        )
    line = inspect.unwrap(function).__code__.co_firstlineno
    where = f"{path}:{line}"
    parameters = _parameters(function, where)
    kind = _frame_kind(parameters[0], module, default_frame, where, {**FRAMES, **more})
    return UserFunction(reference, path, line, function, kind, len(parameters) > 1)


@contextlib.contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Have modules beside the user's file found, now and only now.

    What is imported meanwhile stays until the next file is loaded: each sees its own neighbours, as they are on disk.
    """
    before = set(sys.modules)
    with _path_guard:
        sys.path.insert(0, str(folder))
        # A cached .pyc of a neighbour would hide an edit of the same size within the same second.
        written, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        with _path_guard:
            sys.dont_write_bytecode = written
            with contextlib.suppress(ValueError):
                sys.path.remove(str(folder))
            _neighbours.update(name for name in set(sys.modules) - before if _lies_in(folder, sys.modules.get(name)))


def _forget_neighbours() -> None:
    with _path_guard:
        while _neighbours:
            sys.modules.pop(_neighbours.pop(), None)


def neighbours_of(path: Path) -> list[types.ModuleType]:
    """The modules beside and below the user's file that are imported now."""
    return [module for module in list(sys.modules.values()) if _lies_in(path.parent, module)]


def _lies_in(folder: Path, module: types.ModuleType | None) -> bool:
    """Packages of an environment that stands in the project's folder do not."""
    file = getattr(module, "__file__", None)
    if file is None or not Path(file).is_relative_to(folder):
        return False
    return "site-packages" not in Path(file).parts and not Path(file).is_relative_to(sys.prefix)


def _parse(reference: str, base_dir: str) -> tuple[Path, str]:
    file, _, name = reference.rpartition("::")
    if not file or not name.isidentifier():
        raise ConfigError(f"not a transform: {reference!r}", fix="write it as path.py::function")
    path = within(Path(base_dir), file, what="the transform file")
    if not path.is_file():
        raise ConfigError(
            f"no transform file {file!r}", where=str(path), fix="paths are relative to the project file's folder"
        )
    return path, name


def _execute(path: Path, reference: str) -> types.ModuleType:
    """Compiled from source each time: a cached .pyc may be older than an edit within the same second."""
    module = types.ModuleType(f"_penstock_transform_{next(_numbers)}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses look their module up
    _forget_neighbours()
    try:
        with importable(path.parent):
            exec(compile(path.read_bytes(), str(path), "exec", dont_inherit=True), module.__dict__)  # noqa: S102 - the user's own code
    except ConfigError as error:  # of our own decorator
        error.locate(user_line(error, path) or str(path))
        raise
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name == PYSPARK:
            raise PluginNotFoundError(
                f"the transform file of {reference!r} needs pyspark, which is not installed",
                where=str(path),
                fix="pip install 'penstock[pyspark]' for the arrow engine, 'penstock[spark]' for engine: spark",
            ) from error
        raise user_error(error, path, f"the transform file of {reference!r}") from error
    finally:
        _take_signals_back()
    return module


def _take_signals_back() -> None:
    """polars handles SIGINT itself from its import on, and nobody who waits would hear of it."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGINT, signal.SIGTERM):
        handler = signal.getsignal(number)
        if handler is not None:
            signal.signal(number, handler)


def _parameters(function: Callable[..., Any], where: str) -> list[inspect.Parameter]:
    parameters = list(inspect.signature(function).parameters.values())
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if len(parameters) not in (1, 2) or any(p.kind not in positional for p in parameters):
        raise ConfigError(
            f"{function.__name__} takes {inspect.signature(function)}", where=where, fix="write (df) or (df, ctx)"
        )
    return parameters


def _frame_kind(
    parameter: inspect.Parameter,
    module: types.ModuleType,
    default_frame: str | None,
    where: str,
    frames: Mapping[str, FrameKind],
) -> FrameKind:
    choices = f"annotate it with one of {', '.join(kind.annotation for kind in frames.values())}"
    if parameter.annotation is inspect.Parameter.empty:
        named = FRAME_NAMES.get(default_frame or PYSPARK)
        if named is None or named not in frames:
            needs = default_frame in (None, PYSPARK)
            unknown = f"; settings.transform_frame {default_frame!r} is none of this engine" if default_frame else ""
            raise ConfigError(
                f"nothing says which frame the parameter {parameter.name!r} wants{unknown}",
                where=where,
                fix=f"{choices}, or use engine: spark" if needs else choices,
            )
        return frames[named]
    name = _canonical(parameter.annotation, module)
    if name.startswith("pyspark.") and name not in frames:
        fix = f"{choices}, or use engine: spark"
        raise ConfigError(f"{name} needs the spark engine; this one is arrow", where=where, fix=fix)
    if name not in frames:
        raise ConfigError(f"{name} is no frame of this engine", where=where, fix=choices)
    return frames[name]


def _canonical(annotation: object, module: types.ModuleType) -> str:
    """`package.Class`, whichever submodule defines it and however the file imported it."""
    if isinstance(annotation, str):
        resolved = _resolve(annotation, module)
        if isinstance(resolved, str):
            return resolved
        annotation = resolved
    package = getattr(annotation, "__module__", "").split(".")[0]
    return f"{package}.{getattr(annotation, '__qualname__', annotation)}"


def _resolve(text: str, module: types.ModuleType) -> object:
    """The annotated object, or its dotted name where it is imported for type checkers only."""
    words = text.strip("'\" ").split(".")
    found: object = vars(module).get(words[0])
    for word in words[1:]:
        found = getattr(found, word, None)
    if found is not None:
        return found
    imports = _imported_names(Path(str(module.__file__)))
    dotted = ".".join([imports.get(words[0], words[0]), *words[1:]]).split(".")
    return f"{dotted[0]}.{dotted[-1]}"


def _imported_names(path: Path) -> dict[str, str]:
    """Every import of the file, those under TYPE_CHECKING too: local name -> dotted name."""
    names: dict[str, str] = {}
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names.update({alias.asname or alias.name.split(".")[0]: alias.name for alias in node.names})
        elif isinstance(node, ast.ImportFrom):
            names.update({alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names})
    return names
