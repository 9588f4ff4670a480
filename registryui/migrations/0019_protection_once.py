"""One protection for the same patterns: of two the immutable one stays, which is the stronger."""

from django.db import migrations, models


def keep_immutable(apps, schema_editor):
    Protection = apps.get_model("registryui", "Protection")
    for row in Protection.objects.filter(is_immutable=True):
        plain = Protection.objects.filter(
            repositories=row.repositories, tags=row.tags, is_immutable=False
        )
        if not row.note:
            row.note = plain.values_list("note", flat=True).first() or ""
            row.save(update_fields=["note"])
        plain.delete()


class Migration(migrations.Migration):
    dependencies = [("registryui", "0018_standard_words")]
    operations = [
        migrations.RemoveConstraint(model_name="protection", name="protection_once"),
        migrations.RunPython(keep_immutable, migrations.RunPython.noop),
        migrations.AddConstraint(
            model_name="protection",
            constraint=models.UniqueConstraint(
                fields=("repositories", "tags"), name="protection_once"
            ),
        ),
    ]
