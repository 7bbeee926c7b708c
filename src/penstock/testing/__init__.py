"""Shipped for plugin authors: conformance suites and doubles."""
