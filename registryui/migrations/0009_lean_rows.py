"""What the first build writes most of, written in half the time.

Facts had three trees on SQLite: the table, its key, and an index by manifest. One is left: the key.
Triggers that put each name into the index of letters are quiet while bulk.py writes (`is_quiet` of a
table with one row; seen by that transaction only): it puts in all names by one statement.
"""

import django.db.models.deletion
from django.db import migrations, models

MAKE_FACTS = (
    """CREATE TABLE registryui_facts_new (fact bigint NOT NULL, manifest_id bigint NOT NULL,
        PRIMARY KEY (fact, manifest_id)) WITHOUT ROWID""",
    "INSERT INTO registryui_facts_new SELECT fact, manifest_id FROM registryui_imagefact"
    " ORDER BY fact, manifest_id",
    "DROP TABLE registryui_imagefact",
    "ALTER TABLE registryui_facts_new RENAME TO registryui_imagefact",
)
MAKE_QUIET = (
    "CREATE TABLE registryui_names_quiet (is_quiet integer NOT NULL)",
    "INSERT INTO registryui_names_quiet VALUES (0)",
)
# In the place of 0007's: whoever copies a table on SQLite must run these again.
MAKE_TRIGGER = (
    "DROP TRIGGER IF EXISTS registryui_{table}_named",
    """CREATE TRIGGER registryui_{table}_named AFTER INSERT ON registryui_{table}
        WHEN (SELECT is_quiet FROM registryui_names_quiet) = 0 BEGIN
        INSERT INTO registryui_{table}_names(rowid, name) VALUES (new.id, new.name); END""",
)


def make(apps, schema_editor):
    if schema_editor.connection.vendor != "sqlite":
        return
    for statement in (*MAKE_FACTS, *MAKE_QUIET):
        schema_editor.execute(statement)
    for table in ("tag", "repository"):
        for statement in MAKE_TRIGGER:
            schema_editor.execute(statement.format(table=table))


class AlterElsewhere(migrations.AlterField):
    """On SQLite the table is made by hand: Django would copy it into one with a rowid."""

    def database_forwards(self, app_label, schema_editor, from_state, to_state):
        if schema_editor.connection.vendor != "sqlite":
            super().database_forwards(app_label, schema_editor, from_state, to_state)

    def database_backwards(self, app_label, schema_editor, from_state, to_state):
        if schema_editor.connection.vendor != "sqlite":
            super().database_backwards(app_label, schema_editor, from_state, to_state)


class Migration(migrations.Migration):
    dependencies = [("registryui", "0008_cleanup")]
    operations = [
        AlterElsewhere(
            model_name="imagefact",
            name="manifest",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="facts",
                to="registryui.manifest",
            ),
        ),
        migrations.RunPython(make, migrations.RunPython.noop),
    ]
