"""TALKING TO THE REGISTRY: one protocol to read it by, HTTP to do so, and its errors. No tables."""
