"""Whether the pages look as they did: `python -m tests.screens`.

content.py   what the portal is filled with, at a moment that stands still
pages.py     every page and the states that it can be in
states.py    what such a state needs
render.py    asks the portal for them; HTML in a form that can be compared
pictures.py  shows them to Chromium, which takes the pictures
compare.py   what differs between two folders of them
"""
