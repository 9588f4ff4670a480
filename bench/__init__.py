"""./boathouse bench: the numbers of docs/benchmarks.md, measured anew on this machine."""
