"""What the SQL systems share: dialects, the ledger, loads, and the SELECTs of a source."""
