"""Schedules in the form of cron: what is one, when it comes next, what it is called."""

from datetime import UTC, datetime
from itertools import pairwise

import pytest
from django.utils import translation
from hypothesis import given
from hypothesis import strategies as st
from pytest_django.fixtures import Settings

from registryui import schedules
from registryui.refused import Refused

NOW = datetime(2026, 11, 24, 12, 30, tzinfo=UTC)  # a Tuesday


@pytest.mark.parametrize(
    ("text", "spelled"),
    [("", ""), ("  ", ""), ("0 4 * * sun", "0 4 * * SUN"), (" 30  2 * * * ", "30 2 * * *")],
)
def test_a_schedule_has_one_spelling(text: str, spelled: str) -> None:
    assert schedules.checked(text) == spelled


@pytest.mark.parametrize(
    "text",
    [
        *("daily", "* * * *", "0 0 30 2 *", "0 25 * * *", "60 * * * *", "0 0 * * 1#2/3"),
        *("0 0 * * 8", "*/0 * * * *", "0 0 * * 1,2L/2", "0 0 12 0 * *", "* * * * * *"),
        *("0 0 * * ²L", "0 0 L/L * *", "0 " * 40, "9" * 70, "0 4 * * \0"),
    ],
)
def test_what_is_no_schedule_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(Refused, match="30 2"):
        schedules.checked(text)


@given(st.text(alphabet="0123456789*/,-#LWsunmo ", max_size=20))
def test_any_text_is_a_schedule_with_a_next_time_or_refused(text: str) -> None:
    try:
        spelled = schedules.checked(text)
    except Refused:
        return
    assert not spelled or schedules.next_time(spelled, NOW)
    assert schedules.checked(spelled) == spelled
    if spelled:
        assert schedules.words(spelled)


def test_the_next_times_are_those_of_the_instances_clock(settings: Settings) -> None:
    settings.TIME_ZONE = "Asia/Shanghai"
    (first, second) = schedules.next_times("0 4 * * SUN", 2, NOW)
    assert first == datetime(2026, 11, 28, 20, tzinfo=UTC)
    assert second == datetime(2026, 12, 5, 20, tzinfo=UTC)
    assert schedules.when(first) == "Sun 29 Nov 2026, 04:00 UTC+08:00"


def test_a_time_that_does_not_exist_comes_later_and_one_that_exists_twice_once(
    settings: Settings,
) -> None:
    settings.TIME_ZONE = "Europe/Berlin"
    spring = schedules.next_times("30 2 * * *", 3, datetime(2027, 3, 27, 12, tzinfo=UTC))
    assert [time.astimezone(UTC).hour for time in spring] == [1, 0, 0]
    autumn = schedules.next_times("30 2 * * *", 3, datetime(2026, 10, 24, 12, tzinfo=UTC))
    days = [time.date() for time in autumn]
    assert all((after - before).days == 1 for before, after in pairwise(days))


WORDS = [
    ("0 4 * * SUN", "every Sunday at 04:00", "每周日 04:00"),
    ("0 4 * * 7", "every Sunday at 04:00", "每周日 04:00"),
    ("5 14 * * 3", "every Wednesday at 14:05", "每周三 14:05"),
    ("30 2 * * *", "every day at 02:30", "每天 02:30"),
    ("30 2 1 * *", "on day 1 of every month at 02:30", "每月 1 日 02:30"),
    ("0 3 * * 1-5", "Monday to Friday at 03:00", "周一至周五 03:00"),
    ("15 * * * *", "every hour at minute 15", "每小时的第 15 分钟"),
    ("0 */6 * * *", "every 6 hours at minute 0", "每 6 小时的第 0 分钟"),
    ("*/10 * * * *", "every 10 minutes", "每 10 分钟"),
    ("* * * * *", "every minute", "每分钟"),
    ("0 */7 * * *", "at minute 0 past every seventh hour", "0 */7 * * *"),
    ("0 0 L * *", "at 00:00 on the last day of every month", "0 0 L * *"),
]


@pytest.mark.parametrize(("schedule", "english", "chinese"), WORDS)
def test_a_schedule_in_words(schedule: str, english: str, chinese: str) -> None:
    assert schedules.words(schedule) == english
    with translation.override("zh-hans"):
        assert schedules.words(schedule) == chinese


def test_a_time_in_chinese(settings: Settings) -> None:
    settings.TIME_ZONE = "UTC"
    with translation.override("zh-hans"):
        assert schedules.when(NOW) == "2026-11-24 星期二 12:30 UTC"
