"""Environment variables for the registry's Go runtime. Pure."""

# Each blob that the registry serves takes 4 MiB of memory for a moment. By default Go spends two
# fifths of its processor time on allocating and releasing it: here it may keep more, up to a limit,
# and release it lazily. Small blobs take a quarter less time.
GO_RUNTIME = {
    "GOGC": "400",
    "GOMEMLIMIT": "512MiB",
    "GODEBUG": "madvdontneed=0",
    # Registry 3 sends traces of all requests to port 4318 of this machine by default.
    "OTEL_TRACES_EXPORTER": "none",
}
