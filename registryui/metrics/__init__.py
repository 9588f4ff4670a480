"""What Prometheus reads: views/metrics.py serves it.

    families.py      the numbers of this instance, from tables, files and parts
    requests.py      requests by result, from nginx's access log
    own_registry.py  the registry's own metrics, if BOATHOUSE_METRICS_REGISTRY_PORT is set

Each scrape has a fresh CollectorRegistry: nothing is counted in web processes, of which there are
several. Numbers of the store are those that the index keeps; no scrape reads its large tables.
"""

from .exposition import CONTENT_TYPE, text

__all__ = ["CONTENT_TYPE", "text"]
