"""When tags expire. Of images that are indexed already, the label is read here; they are found by the
fact that they state it, not by reading every config."""

from collections import defaultdict
from datetime import UTC, datetime, timedelta

from django.db import migrations, models

from registryui.oci import expiry, facts
from registryui.oci.config import parse_config

CHUNK = 500  # rows of one statement
FIRST = datetime(2013, 1, 1, tzinfo=UTC)  # an earlier push time is not known


def read_labels(apps, schema_editor):
    fact = apps.get_model("registryui", "ImageFact")
    stated = fact.objects.filter(fact=facts.label(expiry.LABEL)).order_by()
    images = list(stated.values_list("manifest_id", flat=True))
    for some in _chunks(images):
        _read_images(apps, some)


def _read_images(apps, keys):
    manifest = apps.get_model("registryui", "Manifest")
    entry = apps.get_model("registryui", "ImageIndexEntry")
    rows = [
        row for row in manifest.objects.filter(pk__in=keys).only("config", "digest", "repository")
    ]
    for row in rows:
        row.expires_after = _stated(row.config)
    rows = [row for row in rows if row.expires_after]
    manifest.objects.bulk_update(rows, ["expires_after"])
    _note_tags(apps, rows)
    lists = entry.objects.filter(digest__in=[row.digest for row in rows]).order_by()
    here = {row.repository_id for row in rows}
    lists = lists.filter(image_index__repository__in=here).values_list("image_index_id", flat=True)
    for some in _chunks(sorted(set(lists))):
        _read_image_indexes(apps, some)


def _read_image_indexes(apps, keys):
    """As the longest of their images, if each of them states it."""
    manifest = apps.get_model("registryui", "Manifest")
    entry = apps.get_model("registryui", "ImageIndexEntry")
    rows = list(manifest.objects.filter(pk__in=keys).only("digest", "repository"))
    listed = defaultdict(set)
    for index, digest in entry.objects.filter(image_index__in=keys).values_list(
        "image_index_id", "digest"
    ):
        listed[index].add(digest)
    for row in rows:
        images = manifest.objects.filter(repository=row.repository_id, digest__in=listed[row.pk])
        images = images.filter(kind__in=("image", "image index")).exclude(os="unknown")
        found = list(images.values_list("expires_after", flat=True))
        row.expires_after = max(found) if found and None not in found else None
    rows = [row for row in rows if row.expires_after]
    manifest.objects.bulk_update(rows, ["expires_after"])
    _note_tags(apps, rows)


def _note_tags(apps, rows):
    tag = apps.get_model("registryui", "Tag")
    after = {row.pk: row.expires_after for row in rows}
    tags = tag.objects.filter(manifest__in=list(after), refers_to="", tagged_at__gte=FIRST)
    tags = list(tags.only("tagged_at", "manifest"))
    for one in tags:
        one.label_expires_at = one.tagged_at + timedelta(seconds=after[one.manifest_id])
    tag.objects.bulk_update(tags, ["label_expires_at"], batch_size=CHUNK)


def _stated(config):
    try:
        labels = parse_config(bytes(config or b""), with_history=False).labels
    except ValueError:
        return None
    return expiry.stated({}, labels)


def _chunks(some):
    return [some[at : at + CHUNK] for at in range(0, len(some), CHUNK)]


class Migration(migrations.Migration):
    dependencies = [
        ("registryui", "0026_quotas"),
    ]

    operations = [
        migrations.AddField(
            model_name="manifest",
            name="expires_after",
            field=models.PositiveIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="tag",
            name="expires_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="tag",
            name="label_expires_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AlterField(
            model_name="run",
            name="kind",
            field=models.CharField(
                choices=[
                    ("sync", "Sync"),
                    ("sizes", "Sizes"),
                    ("doctor", "Doctor"),
                    ("delete", "Delete"),
                    ("retention", "Retention"),
                    ("dry_run", "Dry Run"),
                    ("expiry", "Expiry"),
                    ("gc", "Gc"),
                    ("integrity", "Integrity"),
                    ("import", "Import"),
                    ("backup", "Backup"),
                ],
                max_length=16,
            ),
        ),
        migrations.AddIndex(
            model_name="tag",
            index=models.Index(
                condition=models.Q(("expires_at__isnull", False)),
                fields=["expires_at", "id"],
                name="tag_expires",
            ),
        ),
        migrations.AddIndex(
            model_name="tag",
            index=models.Index(
                condition=models.Q(("label_expires_at__isnull", False)),
                fields=["label_expires_at", "id"],
                name="tag_label_expires",
            ),
        ),
        migrations.RunPython(read_labels, migrations.RunPython.noop),
    ]
