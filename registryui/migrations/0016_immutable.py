from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('registryui', '0015_client_deletes'),
    ]

    operations = [
        migrations.RemoveConstraint(model_name='protection', name='protection_once'),
        migrations.AddField(
            model_name='protection',
            name='is_immutable',
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddConstraint(
            model_name='protection',
            constraint=models.UniqueConstraint(
                fields=('repositories', 'tags', 'is_immutable'), name='protection_once'
            ),
        ),
    ]
