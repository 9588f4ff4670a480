"""TALKING TO THE REGISTRY and its store."""
