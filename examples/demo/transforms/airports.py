"""Transforms of the demo."""

import duckdb


def enrich(df: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
    """Elevation in metres beside feet, and the hemisphere."""
    return df.project(
        """
        *,
        round(elevation * 0.3048, 1) AS elevation_m,
        CASE WHEN lat >= 0 THEN 'north' ELSE 'south' END AS hemisphere
        """
    )
