"""Transforms of the example: how many airports each country has."""

import duckdb

import penstock


@penstock.transform(scope="table")
def by_country(df: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
    return df.aggregate("country, count(*) AS airports", "country")
