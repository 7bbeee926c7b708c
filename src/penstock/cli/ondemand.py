"""What a process of the command line leaves out until somebody asks for it.

pandas only where a frame of it is asked for: pyarrow by itself imports it as soon as a list becomes an array. Where
pandas is installed, that costs every run 0.5 s of CPU and 40 MB. pyarrow tries the import once and tries again where
pandas is really needed (`to_pandas`), so its first try is made to fail here, at pyarrow's own import, and pyarrow is
told as soon as anybody imports pandas.

Arrow's own allocator, mimalloc: it keeps some 20 MB more of a long load than the system's, and is no faster here.
numpy's threads for linear algebra, which nothing here computes: they spin for 0.1 s of CPU when numpy is imported.
pydantic's plugins, which it seeks in the metadata of everything installed: nothing here has a use for them. All are
as the environment says, where it says anything (`ARROW_DEFAULT_MEMORY_POOL`, `OPENBLAS_NUM_THREADS`,
`PYDANTIC_DISABLE_PLUGINS`).

Only for a process that is the command line's own.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any


class PandasOnDemand:
    """Watches the imports of pyarrow and pandas; finds both where they are anyway."""

    def __init__(self) -> None:
        self._refused_to: int | None = None  # the thread that makes pyarrow's first try

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name == "pandas" and self._refused_to == threading.get_ident():
            raise ModuleNotFoundError("pandas is not asked for", name="pandas")
        then = {"pyarrow": self._let_it_do_without, "pandas": _tell_pyarrow}.get(name)
        if then is None:
            return None
        spec = PathFinder.find_spec(name, path, target)
        return _with_sequel(spec, then)

    def _let_it_do_without(self, pyarrow: Any) -> None:
        if "pandas" in sys.modules:
            return
        self._refused_to = threading.get_ident()
        try:
            pyarrow.array([])
        finally:
            self._refused_to = None


def _tell_pyarrow(pandas: ModuleType) -> None:
    del pandas
    pyarrow: Any = sys.modules.get("pyarrow")
    if pyarrow is not None and hasattr(pyarrow, "nulls"):
        pyarrow.nulls(0).to_pandas()


def _with_sequel(spec: ModuleSpec | None, then: Callable[[Any], None]) -> ModuleSpec | None:
    if spec is None or spec.loader is None:
        return spec
    execute = spec.loader.exec_module

    def execute_and_then(module: ModuleType) -> None:
        execute(module)
        then(module)

    spec.loader.exec_module = execute_and_then  # type: ignore[method-assign]
    return spec


def install() -> None:
    """Safe to repeat."""
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    if not any(isinstance(finder, PandasOnDemand) for finder in sys.meta_path):
        sys.meta_path.insert(0, PandasOnDemand())


__all__ = ["PandasOnDemand", "install"]
