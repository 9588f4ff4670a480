"""The audit log is append-only, by triggers: no UPDATE, and no DELETE of a row but by its rule.

The rule (registryui/audit/prune.py): a later row `audit.prune` says that the row goes, and the row is
older than 30 days. So no session variable opens a door that stays open, and whoever takes rows away
leaves one that says so. PostgreSQL's TRUNCATE is refused as well.

Whoever rewrites the table on SQLite (Django copies it for most changes of a column) loses the
triggers; tests/audit/test_guard.py then fails, and `make` must be run again in that migration.
"""

from django.db import migrations

REFUSAL = "the audit log is append-only"
SQLITE = [
    f"""CREATE TRIGGER registryui_audit_no_update BEFORE UPDATE ON registryui_auditevent
        BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END""",
    f"""CREATE TRIGGER registryui_audit_no_delete BEFORE DELETE ON registryui_auditevent
        WHEN OLD.at >= datetime('now', '-30 days') OR NOT EXISTS (
            SELECT 1 FROM registryui_auditevent WHERE act = 'audit.prune' AND id > OLD.id
            AND json_extract(details, '$.through') >= OLD.id)
        BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END""",
]
POSTGRESQL = [
    f"""CREATE FUNCTION registryui_audit_guard() RETURNS trigger LANGUAGE plpgsql AS $guard$
        BEGIN
            IF TG_OP = 'DELETE' THEN
                IF OLD.at < now() - interval '30 days' AND EXISTS (
                    SELECT 1 FROM registryui_auditevent WHERE act = 'audit.prune' AND id > OLD.id
                    AND (details->>'through')::bigint >= OLD.id)
                THEN RETURN OLD; END IF;
            END IF;
            RAISE EXCEPTION '{REFUSAL}';
        END $guard$""",
    """CREATE TRIGGER registryui_audit_rows BEFORE UPDATE OR DELETE ON registryui_auditevent
        FOR EACH ROW EXECUTE FUNCTION registryui_audit_guard()""",
    """CREATE TRIGGER registryui_audit_all BEFORE TRUNCATE ON registryui_auditevent
        FOR EACH STATEMENT EXECUTE FUNCTION registryui_audit_guard()""",
]
SQLITE_BACK = [
    "DROP TRIGGER registryui_audit_no_update",
    "DROP TRIGGER registryui_audit_no_delete",
]
POSTGRESQL_BACK = [
    "DROP TRIGGER registryui_audit_rows ON registryui_auditevent",
    "DROP TRIGGER registryui_audit_all ON registryui_auditevent",
    "DROP FUNCTION registryui_audit_guard()",
]


def make(apps, schema_editor):
    is_postgresql = schema_editor.connection.vendor == "postgresql"
    for statement in POSTGRESQL if is_postgresql else SQLITE:
        schema_editor.execute(statement, params=None)


def take_away(apps, schema_editor):
    is_postgresql = schema_editor.connection.vendor == "postgresql"
    for statement in POSTGRESQL_BACK if is_postgresql else SQLITE_BACK:
        schema_editor.execute(statement, params=None)


class Migration(migrations.Migration):
    dependencies = [("registryui", "0010_retention")]
    operations = [migrations.RunPython(make, take_away)]
