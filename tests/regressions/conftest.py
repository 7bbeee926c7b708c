"""The small shop of the pipeline tests."""

from __future__ import annotations

from tests.pipeline.conftest import shop

__all__ = ["shop"]
