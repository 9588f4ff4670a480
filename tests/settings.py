"""The settings of the tests: the product's own, with a data folder that goes away."""

import atexit
import os
import shutil
import tempfile

# tests/run.py knows that a process which a test kills leaves its folder there.
os.environ["BOATHOUSE_DATA"] = tempfile.mkdtemp(dir=os.environ.get("BOATHOUSE_TEST_DATA"))

from portal.settings import *  # noqa: F403  (the environment must be set first)

atexit.register(shutil.rmtree, DATA, ignore_errors=True)  # noqa: F405
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
STATICFILES_DIRS = [BASE_DIR / "static"]  # noqa: F405
STATIC_ROOT.mkdir()  # noqa: F405  (there is nothing to collect)
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
SECURE_SSL_REDIRECT = False
HUEY = {**HUEY, "immediate": True, "immediate_use_memory": True}  # noqa: F405
