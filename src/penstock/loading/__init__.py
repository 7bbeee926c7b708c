"""How a load gets in: strategies and routes as plans, admission by the ledger, boundaries, digests, verification."""
