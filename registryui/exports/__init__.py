"""What leaves this registry as files: chosen tags as one OCI archive, and the portal's settings.

    select.py   which tags, with what refers to them
    plan.py     all that they need, in the archive's order, less what another archive has
    archive.py  the archive's bytes, and the file

Docker and skopeo open the archive, `./boathouse import archive` takes it. The same tags give the
same bytes.
"""
