"""From a project to a plan to a run."""
