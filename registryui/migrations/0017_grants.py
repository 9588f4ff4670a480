"""What maintainers may give to registry users.

Those who are there may give what their own users have now: nothing stops working, and nobody can
give what they could not use already. New ones give nothing until an administrator grants it.
"""

from datetime import UTC, datetime, timedelta

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models
from django.utils import timezone

NEVER = datetime(9999, 12, 31, tzinfo=UTC)
DAYS = 365


def grant(apps, schema_editor):
    Operator = apps.get_model("registryui", "Operator")
    Grant = apps.get_model("registryui", "Grant")
    Right = apps.get_model("registryui", "Right")
    RegistryUser = apps.get_model("registryui", "RegistryUser")
    now = timezone.now()
    for operator in Operator.objects.filter(role="maintainer"):
        theirs = RegistryUser.objects.filter(owner=operator, is_active=True, expires_at__gt=now)
        pairs = Right.objects.filter(user__in=theirs).values_list("action", "scope").distinct()
        Grant.objects.bulk_create(
            [Grant(operator=operator, action=a, scope=s) for a, s in sorted(set(pairs))]
        )
        last = theirs.order_by("-expires_at").values_list("expires_at", flat=True).first() or now
        days = (last - now) // timedelta(days=1) + 1
        operator.longest_days = None if last == NEVER else max(DAYS, days)
        operator.save(update_fields=["longest_days"])


class Migration(migrations.Migration):
    dependencies = [("registryui", "0016_immutable")]
    operations = [
        migrations.AddField(
            model_name="operator",
            name="longest_days",
            field=models.PositiveIntegerField(blank=True, default=365, null=True),
        ),
        migrations.CreateModel(
            name="Grant",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "action",
                    models.CharField(
                        choices=[("pull", "pull"), ("push", "push"), ("delete", "delete")],
                        max_length=8,
                    ),
                ),
                ("scope", models.CharField(max_length=257)),
                (
                    "operator",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="grants",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={"ordering": ["action", "scope"]},
        ),
        migrations.AddConstraint(
            model_name="grant",
            constraint=models.UniqueConstraint(
                fields=("operator", "action", "scope"), name="grant_once"
            ),
        ),
        migrations.RunPython(grant, migrations.RunPython.noop),
    ]
