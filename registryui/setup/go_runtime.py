"""What the registry's own runtime is told: environment variables of the Go language. Pure."""

# Each blob that the registry serves takes 4 MiB of memory for a moment. By its own settings Go
# spends two fifths of its processor time on asking for that memory and giving it back: it may keep
# more of it, up to a limit, and hands it back lazily. A quarter less time for each small blob.
GO_RUNTIME = {
    "GOGC": "400",
    "GOMEMLIMIT": "512MiB",
    "GODEBUG": "madvdontneed=0",
    # Registry 3 sends traces of all requests to port 4318 of this machine if nothing is said.
    "OTEL_TRACES_EXPORTER": "none",
}
