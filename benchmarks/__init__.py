"""Ratios to limits measured in the same run; see __main__."""
