"""What gunicorn serves."""

import gc
import os

from django.core.wsgi import get_wsgi_application

from portal.behind_nginx import behind_nginx
from registryui import space

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
space.give_back()  # before Django: no database can be opened on a full disk
application = behind_nginx(get_wsgi_application())

from portal import urls  # noqa: E402, F401  (all views, before a first visitor waits for them)

# Exclude loaded modules from Python's garbage collection, which would stop a page for 80 ms.
gc.collect()
gc.freeze()
