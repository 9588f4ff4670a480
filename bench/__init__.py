"""./boathouse bench: the numbers of docs/benchmarks.md, measured on this machine.

__main__.py ── options, order of the parts, table, JSON
  start push memory first_sync pages …    one module a part: measure() -> rows
    instance.py  a separate instance      images.py  made images
    clients.py   who asks it for pages    store.py   a made store
    measure.py   rows, percentiles, the noise of the machine
"""
