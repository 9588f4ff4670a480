"""Reports of retention runs name their policy by the field's word. Only names change."""

from django.db import migrations

RESULTS = {"rule": "policy", "rule_id": "policy_id"}


def rename_results(apps, schema_editor):
    _rename(apps, RESULTS)


def rename_back(apps, schema_editor):
    _rename(apps, {new: old for old, new in RESULTS.items()})


def _rename(apps, names):
    runs = apps.get_model("registryui", "Run").objects.filter(kind__in=["retention", "dry_run"])
    for run in runs.iterator():
        if isinstance(run.result, dict):
            run.result = {names.get(name, name): value for name, value in run.result.items()}
            run.save(update_fields=["result"])


class Migration(migrations.Migration):
    dependencies = [("registryui", "0019_protection_once")]
    operations = [migrations.RunPython(rename_results, rename_back)]
