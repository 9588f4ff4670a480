"""The field's words: tombstones, retention policies, tagged_at, generations, garbage collection.

Only names change. Results of earlier garbage collections keep their figures under the new names.
"""

from django.db import migrations, models

RESULTS = {
    "hidden": "quarantined",
    "hidden_manifests": "quarantined_manifests",
    "hidden_bytes": "quarantined_bytes",
    "returned": "restored",
    "waiting": "in_quarantine",
    "waiting_bytes": "in_quarantine_bytes",
    "young_bytes": "grace_bytes",
    "held_seconds": "freeze_seconds",
}

NAMES = ["repository", "refers_to"]
TAG_INDEXES = [
    models.Index(fields=[*NAMES, "group_key", "version_key", "id"], name="tag_version"),
    models.Index(fields=[*NAMES, "tagged_at", "id"], name="tag_moved"),
    models.Index(fields=[*NAMES, "size", "id"], name="tag_size"),
    models.Index(fields=[*NAMES, "pulled_at", "id"], name="tag_pulled"),
    models.Index(fields=["tagged_at", "id"], name="tag_latest"),
    models.Index(fields=["tagged_by", "tagged_at", "id"], name="tag_by"),
    models.Index(fields=["id"], name="tag_attached", condition=~models.Q(refers_to="")),
]


def rename_results(apps, schema_editor):
    _rename(apps, "collect", "gc", RESULTS)


def rename_back(apps, schema_editor):
    _rename(apps, "gc", "collect", {new: old for old, new in RESULTS.items()})


def _rename(apps, old_kind, new_kind, names):
    runs = apps.get_model("registryui", "Run").objects.filter(kind=old_kind)
    for run in runs.iterator():
        if isinstance(run.result, dict):
            run.result = {names.get(name, name): value for name, value in run.result.items()}
        run.kind = new_kind
        run.save(update_fields=["kind", "result"])


class Migration(migrations.Migration):
    dependencies = [("registryui", "0017_grants")]
    operations = [
        migrations.RenameModel("FormerTag", "TagTombstone"),
        migrations.RenameModel("RetentionRule", "RetentionPolicy"),
        migrations.RenameField("tag", "moved_at", "tagged_at"),
        migrations.RenameField("tag", "moved_by", "tagged_by"),
        migrations.RenameField("tag", "attached_to", "refers_to"),
        migrations.RenameField("tagtombstone", "moved_at", "tagged_at"),
        migrations.RenameField("tagtombstone", "moved_by", "tagged_by"),
        migrations.RenameField("tagtombstone", "attached_to", "refers_to"),
        migrations.RenameField("retentionfate", "moved_at", "tagged_at"),
        migrations.RenameField("retentionfate", "rule", "policy"),
        migrations.RenameField("registryuser", "decision", "generation"),
        migrations.RenameField("published", "decision", "generation"),
        # The database keeps its indexes when a column is renamed. Only Django is told.
        migrations.SeparateDatabaseAndState(
            state_operations=[
                operation
                for index in TAG_INDEXES
                for operation in (
                    migrations.RemoveIndex("tag", index.name),
                    migrations.AddIndex("tag", index),
                )
            ]
        ),
        migrations.AlterField(
            "run",
            "kind",
            models.CharField(
                max_length=16,
                choices=[
                    ("sync", "Sync"),
                    ("sizes", "Sizes"),
                    ("doctor", "Doctor"),
                    ("delete", "Delete"),
                    ("retention", "Retention"),
                    ("dry_run", "Dry Run"),
                    ("gc", "Gc"),
                    ("integrity", "Integrity"),
                ],
            ),
        ),
        migrations.RunPython(rename_results, rename_back),
    ]
