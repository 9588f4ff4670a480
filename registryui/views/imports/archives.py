"""Archives of images that an administrator uploads: in pieces, or as a plain form."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from django.contrib import messages
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler, StopUpload
from django.http import Http404, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt, csrf_protect

from registryui import tasks
from registryui.imports import uploads
from registryui.imports.source import Options
from registryui.imports.uploads import OutOfPlace, Upload
from registryui.models import Role, Run
from registryui.refused import Refused
from registryui.views.access import Request, require_role
from registryui.views.form import Number, read, text

FILE = "archive"  # the field of the form
_FIELDS = ("name", "namespace", "act", "replace")


@require_role(Role.ADMIN)
def archives(request: Request) -> HttpResponse:
    """The form, and what was uploaded and not imported yet."""
    return _page(request)


@require_role(Role.ADMIN, methods=("POST",))
def archive_begin(request: Request) -> HttpResponse:
    """Where the script sends the pieces of a file, and from which place on."""
    typed = read(request.POST, file=text(), size=Number(), stamp=text())
    try:
        found = uploads.begin(
            typed["file"], typed["size"] or 0, typed["stamp"], by=request.user.actor
        )
    except Refused as error:
        return _refusal(error)
    return JsonResponse(
        {
            "offset": found.offset,
            "piece": reverse("archive_piece", args=[found.id]),
            "import": reverse("archive_import", args=[found.id]),
        }
    )


@require_role(Role.ADMIN, methods=("POST",))
def archive_piece(request: Request, id: str) -> HttpResponse:
    """Takes the piece that begins at ?offset=; the answer says where the next one begins."""
    upload = _found(id)
    offset = read(request.GET, offset=Number())["offset"] or 0
    try:
        return JsonResponse({"offset": uploads.append(upload, offset, request)})
    except OutOfPlace as error:
        return JsonResponse({"offset": error.offset}, status=409)
    except Refused as error:
        return _refusal(error)


@require_role(Role.ADMIN, methods=("POST",))
def archive_import(request: Request, id: str) -> HttpResponse:
    """Begins the import of an archive that is complete, or a dry run of it."""
    try:
        return redirect("import_run", _begun(request, _found(id)).pk)
    except Refused as error:
        return _page(request, error=str(error), status=422)


@require_role(Role.ADMIN, methods=("POST",))
def archive_remove(request: Request, id: str) -> HttpResponse:
    """Removes what was uploaded."""
    upload = _found(id)
    try:
        uploads.remove(upload)
        messages.success(request, _("Removed the archive %(name)s.") % {"name": upload.name})
    except Refused as error:
        messages.error(request, str(error))
    return redirect("archives")


class _Spooled(FileUploadHandler):
    """Writes the file of the form into the data folder while it arrives, not into memory."""

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self._by = request.user.actor
        self._arriving: uploads.FormUpload | None = None
        self.upload: Upload | None = None
        self.refusal = ""

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        """See FileUploadHandler."""
        super().new_file(*args, **kwargs)
        with self._refusing():
            self._arriving = uploads.FormUpload(str(self.file_name or ""), by=self._by)

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """See FileUploadHandler."""
        with self._refusing():
            if self._arriving:
                self._arriving.write(raw_data)

    def file_complete(self, file_size: int) -> UploadedFile[bytes] | None:
        """See FileUploadHandler."""
        with self._refusing():
            self.upload = self._arriving.done() if self._arriving else None
        return UploadedFile(name=self.file_name, size=file_size)

    def upload_interrupted(self) -> None:
        """See FileUploadHandler."""
        if self._arriving:
            self._arriving.give_up()

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        try:
            yield
        except Refused as error:
            self.upload_interrupted()
            self.refusal = str(error)
            raise StopUpload from error  # the rest is read, so that the browser sees the answer


@csrf_exempt  # `_uploaded` checks it: before, where the file is written to must be said
@require_role(Role.ADMIN, methods=("POST",))
def archive_upload(request: Request) -> HttpResponseBase:
    """The form without a script: the whole archive, and the import of it."""
    handler = _Spooled(request)
    request.upload_handlers = [handler]
    return cast("HttpResponseBase", _uploaded(request, handler))


@csrf_protect
def _uploaded(request: Request, handler: _Spooled) -> HttpResponse:
    try:
        request.POST.get("act")  # reads the form
        if handler.refusal or handler.upload is None:
            raise Refused(handler.refusal or _("Choose a file."))
        return redirect("import_run", _begun(request, handler.upload).pk)
    except Refused as error:
        return _page(request, error=str(error), status=422)


# -- helpers ---------------------------------------------------------------------------------------
def _begun(request: Request, upload: Upload) -> Run:
    typed = read(request.POST, **{name: text() for name in _FIELDS})
    options = Options(
        namespace=typed["namespace"].strip("/"),
        replace=typed["replace"] == "1",
        dry_run=typed["act"] == "dry_run",
    )
    run = uploads.begin_import(upload, typed["name"], options, by=request.user.actor)
    tasks.import_archive(run.pk, request.LANGUAGE_CODE)
    return run


def _found(id: str) -> Upload:
    upload = uploads.find(id)
    if upload is None:
        raise Http404
    return upload


def _refusal(error: Refused) -> JsonResponse:
    """For the script, which shows it."""
    return JsonResponse({"error": str(error)}, status=422)


def _page(request: Request, *, error: str = "", status: int = 200) -> HttpResponse:
    form = {name: request.POST.get(name, "") for name in _FIELDS} if error else {}
    context = {"uploads": uploads.uploads(), "form": form, "error": error, "file": FILE}
    return render(request, "imports/archives.html", context, status=status)
