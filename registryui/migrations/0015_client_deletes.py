from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('registryui', '0014_blob_names'),
    ]

    operations = [
        migrations.AddField(
            model_name='formertag',
            name='address',
            field=models.CharField(blank=True, max_length=64, db_default='', default=''),
        ),
        migrations.AddField(
            model_name='registryevent',
            name='replaced',
            field=models.CharField(blank=True, db_default='', default='', max_length=255),
        ),
        migrations.CreateModel(
            name='ManifestTombstone',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('repository', models.CharField(max_length=255)),
                ('digest', models.CharField(max_length=255)),
                ('media_type', models.CharField(blank=True, max_length=255)),
                ('size', models.BigIntegerField(default=0)),
                ('raw', models.BinaryField()),
                ('keep_until', models.DateTimeField()),
            ],
            options={
                'indexes': [models.Index(fields=['keep_until'], name='tombstone_until')],
                'constraints': [models.UniqueConstraint(fields=('repository', 'digest'), name='tombstone_once')],
            },
        ),
    ]
