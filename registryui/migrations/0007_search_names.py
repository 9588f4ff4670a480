"""Names by three letters in a row: FTS5 tables that triggers keep, or pg_trgm indexes.

Whoever rewrites the table of tags or repositories on SQLite (Django copies the table for most
changes of a column) loses its triggers; tests/index/test_trigrams.py then fails, and MAKE_TRIGGERS
must be run again in that migration.
"""

from django.db import migrations
from django.db.utils import ProgrammingError

MAKE_TABLES = [
    """CREATE VIRTUAL TABLE registryui_{table}_names USING fts5(
        name, content='registryui_{table}', content_rowid='id', tokenize='trigram')""",
    "INSERT INTO registryui_{table}_names(registryui_{table}_names) VALUES('rebuild')",
]
MAKE_TRIGGERS = [
    """CREATE TRIGGER registryui_{table}_named AFTER INSERT ON registryui_{table} BEGIN
        INSERT INTO registryui_{table}_names(rowid, name) VALUES (new.id, new.name); END""",
    """CREATE TRIGGER registryui_{table}_gone AFTER DELETE ON registryui_{table} BEGIN
        INSERT INTO registryui_{table}_names(registryui_{table}_names, rowid, name)
        VALUES ('delete', old.id, old.name); END""",
    """CREATE TRIGGER registryui_{table}_renamed
        AFTER UPDATE OF id, name ON registryui_{table} BEGIN
        INSERT INTO registryui_{table}_names(registryui_{table}_names, rowid, name)
        VALUES ('delete', old.id, old.name);
        INSERT INTO registryui_{table}_names(rowid, name) VALUES (new.id, new.name); END""",
]
TABLES = ("tag", "repository")


def make(apps, schema_editor):
    connection = schema_editor.connection
    if connection.vendor == "postgresql":
        _have_trigrams(connection)
        for table in TABLES:
            # UPPER is how Django compares without case: its queries use this index by themselves.
            schema_editor.execute(
                f"CREATE INDEX {table}_trigrams ON registryui_{table}"
                " USING gin (UPPER(name::text) gin_trgm_ops)"
            )
    else:
        for table in TABLES:
            for statement in (*MAKE_TABLES, *MAKE_TRIGGERS):
                schema_editor.execute(statement.format(table=table))


def take_away(apps, schema_editor):
    for table in TABLES:
        if schema_editor.connection.vendor == "postgresql":
            schema_editor.execute(f"DROP INDEX {table}_trigrams")
            continue
        for trigger in ("named", "gone", "renamed"):
            schema_editor.execute(f"DROP TRIGGER registryui_{table}_{trigger}")
        schema_editor.execute(f"DROP TABLE registryui_{table}_names")


def _have_trigrams(connection):
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_extension WHERE extname = 'pg_trgm'")
        if cursor.fetchone():
            return
        try:
            cursor.execute("CREATE EXTENSION pg_trgm")
        except ProgrammingError as error:
            name = connection.settings_dict["NAME"]
            raise RuntimeError(
                "Search needs PostgreSQL's extension pg_trgm, and this role may not create it"
                f" ({str(error).strip()}). Let an administrator of the server run"
                f' CREATE EXTENSION pg_trgm; in the database "{name}", then start again. On Debian'
                " it comes with the package postgresql; elsewhere with postgresql-contrib."
            ) from error


class Migration(migrations.Migration):
    dependencies = [("registryui", "0006_pages")]
    operations = [migrations.RunPython(make, take_away)]
