"""For plugin authors: conformance suites to inherit, systems in memory, doubles of hard cases, project folders."""
