"""What gunicorn serves."""

import gc
import os

from django.core.wsgi import get_wsgi_application

from portal.behind_nginx import behind_nginx
from registryui import space

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
space.give_back()  # before Django: no database can be opened without room
application = behind_nginx(get_wsgi_application())

from portal import urls  # noqa: E402, F401  (all views, before a first visitor waits for them)

# What is loaded stays as long as the process: looked through for garbage, it stops a page 80 ms.
gc.collect()
gc.freeze()
