import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('registryui', '0021_mirror'),
    ]

    operations = [
        migrations.AlterField(
            model_name='run',
            name='kind',
            field=models.CharField(choices=[('sync', 'Sync'), ('sizes', 'Sizes'), ('doctor', 'Doctor'), ('delete', 'Delete'), ('retention', 'Retention'), ('dry_run', 'Dry Run'), ('gc', 'Gc'), ('integrity', 'Integrity'), ('import', 'Import')], max_length=16),
        ),
        migrations.CreateModel(
            name='ImportedTag',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('state', models.CharField(choices=[('taken', 'Taken'), ('there', 'There'), ('skipped', 'Skipped'), ('failed', 'Failed')], max_length=8)),
                ('repository', models.CharField(max_length=255)),
                ('tag', models.CharField(max_length=255)),
                ('target', models.CharField(blank=True, max_length=255)),
                ('target_tag', models.CharField(blank=True, max_length=128)),
                ('digest', models.CharField(blank=True, max_length=255)),
                ('size', models.BigIntegerField(default=0)),
                ('note', models.CharField(blank=True, max_length=500)),
                ('run', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='imported', to='registryui.run')),
            ],
            options={
                'indexes': [models.Index(fields=['run', 'id'], name='imported_run'), models.Index(fields=['run', 'state', 'id'], name='imported_state')],
            },
        ),
    ]
