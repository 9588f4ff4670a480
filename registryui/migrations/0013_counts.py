"""Triggers keep the numbers of repositories, tags and manifests, so that no page counts them.

Whoever rewrites the table of repositories on SQLite (Django copies it for most changes of a column)
loses the triggers; tests/index/test_counts.py then fails, and `make` must be run again in that
migration. What is there already is counted by index/counts.py after each migration.
"""

from django.db import migrations, models

CHANGES = "registryui_countchange (namespace, repositories, tags, manifests)"
MORE = f"INSERT INTO {CHANGES} VALUES (NEW.namespace, 1, NEW.tag_count, NEW.manifest_count);"
FEWER = f"INSERT INTO {CHANGES} VALUES (OLD.namespace, -1, -OLD.tag_count, -OLD.manifest_count);"
OTHERS = (
    f"INSERT INTO {CHANGES} VALUES (NEW.namespace, 0,"
    " NEW.tag_count - OLD.tag_count, NEW.manifest_count - OLD.manifest_count);"
)
MOVED = "NEW.tag_count <> OLD.tag_count OR NEW.manifest_count <> OLD.manifest_count"
TRIGGERS = {
    "more": ("AFTER INSERT ON registryui_repository", "", MORE),
    "fewer": ("AFTER DELETE ON registryui_repository", "", FEWER),
    "others": (
        "AFTER UPDATE OF tag_count, manifest_count ON registryui_repository",
        f"WHEN ({MOVED})",
        OTHERS,
    ),
}


def make(apps, schema_editor):
    for name, (when, only, statement) in TRIGGERS.items():
        trigger = f"registryui_count_{name}"
        if schema_editor.connection.vendor == "postgresql":
            body = f"BEGIN {statement} RETURN NULL; END"
            schema_editor.execute(
                f"CREATE FUNCTION {trigger}() RETURNS trigger LANGUAGE plpgsql AS $${body}$$",
                params=None,
            )
            does = f"FOR EACH ROW {only} EXECUTE FUNCTION {trigger}()"
        else:
            does = f"{only} BEGIN {statement} END"
        schema_editor.execute(f"CREATE TRIGGER {trigger} {when} {does}", params=None)


def take_away(apps, schema_editor):
    is_postgresql = schema_editor.connection.vendor == "postgresql"
    for name in TRIGGERS:
        where = " ON registryui_repository" if is_postgresql else ""
        schema_editor.execute(f"DROP TRIGGER registryui_count_{name}{where}", params=None)
        if is_postgresql:
            schema_editor.execute(f"DROP FUNCTION registryui_count_{name}()", params=None)


class Migration(migrations.Migration):
    dependencies = [("registryui", "0012_integrity")]
    operations = [
        migrations.CreateModel(
            name="CountChange",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("namespace", models.CharField(max_length=255)),
                ("repositories", models.BigIntegerField()),
                ("tags", models.BigIntegerField()),
                ("manifests", models.BigIntegerField()),
            ],
        ),
        migrations.RunPython(make, take_away),
    ]
