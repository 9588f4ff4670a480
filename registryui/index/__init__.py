"""OUR COPY of what the registry holds. Pages read only this; sync.py and events.py keep it true.

look at tags (fetch.py) -> fetch what is new (fetch.py) -> write it down (ingest.py)
"""
