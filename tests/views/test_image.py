"""What a tag page is made of, without a database."""

import json
from datetime import UTC, date, datetime

import pytest

from registryui.oci.config import parse_config
from registryui.views import bar_chart
from registryui.views.catalogue import image
from registryui.views.plain_text import line, shown

IMAGE = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
DIGESTS = ["sha256:" + str(n) * 64 for n in range(10)]


def manifest(sizes: list[int], **fields: object) -> bytes:
    layers = [
        {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": size}
        for digest, size in zip(DIGESTS, sizes, strict=False)
    ]
    config = {"mediaType": CONFIG, "digest": DIGESTS[9], "size": 2}
    return json.dumps({"schemaVersion": 2, "config": config, "layers": layers, **fields}).encode()


def config(*history: dict[str, object], **run: object) -> bytes:
    return json.dumps({"history": list(history), "config": run}).encode()


def entry(platform: str, digest: str, size: int | None = 1, **notes: str) -> image.Entry:
    return image.Entry(digest, IMAGE, platform, notes, size)


# -- text from outside


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a\u202eexe.gpj", "a\\u202eexe.gpj"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("\x00\x1b[31m", "\\u0000\\u001b[31m"),
        ("half \ud800", "half \\ud800"),
        ("tag\U000e0041", "tag\\U000e0041"),
        ("两行\r\ntext\tthere", "两行\ntext\tthere"),
    ],
)
def test_characters_that_nobody_sees_are_spelled_out(text: str, wanted: str) -> None:
    assert shown(text).text == wanted
    shown(text).text.encode()


def test_a_long_text_is_cut_and_says_so() -> None:
    assert shown("x" * 10_000).is_cut
    assert len(shown("x" * 10_000).text) == 2_000
    assert not shown("x" * 2_000).is_cut


def test_a_line_has_no_line_breaks_and_an_ellipsis() -> None:
    assert line("a\n b\tc") == "a b c"
    assert line("x" * 5_000, 10) == "x" * 10 + "…"


# -- layers


def test_layers_stand_in_history_order_with_running_total() -> None:
    read = image.read(
        manifest([100, 300]),
        IMAGE,
        config(
            {"created_by": "/bin/sh -c #(nop) ADD file:1 in /"},
            {"created_by": "ENV A=b", "empty_layer": True},
            {"created_by": "RUN /bin/sh -c make # buildkit"},
        ),
    )
    found = image.layers(read, {DIGESTS[0]: 32, DIGESTS[1]: 1})
    assert [(row.number, row.instruction, row.size, row.total) for row in found.rows] == [
        (1, "ADD", 100, 100),
        (0, "ENV", 0, 0),
        (2, "RUN", 300, 400),
    ]
    assert [row.shared_with for row in found.rows] == [31, 0, 0]
    assert (found.count, found.size, found.shared_size) == (2, 400, 100)


def test_layers_without_history_and_history_without_layers_are_kept() -> None:
    none = image.layers(image.read(manifest([1, 2]), IMAGE, config()), {})
    assert [row.number for row in none.rows] == [1, 2]
    assert none.rows[0].words == "Layer"
    more = image.layers(
        image.read(manifest([1]), IMAGE, config({"created_by": "A"}, {"created_by": "B"})), {}
    )
    assert [row.number for row in more.rows] == [1, 0]


def test_a_foreign_layer_counts_no_bytes() -> None:
    data = json.loads(manifest([5, 7]))
    data["layers"][0]["urls"] = ["https://example.com/layer"]
    found = image.layers(image.read(json.dumps(data).encode(), IMAGE, config()), {})
    assert found.rows[0].is_foreign
    assert found.size == 7


@pytest.mark.parametrize("sizes", [[1], [0, 0], [10**12, 1, 1], [5] * 10, []])
def test_bars_fill_the_width_and_never_overlap(sizes: list[int]) -> None:
    found = image.layers(image.read(manifest(sizes), IMAGE, config()), {}).bars
    ends = 0.0
    for bar in found:
        assert float(bar.bar_x) >= ends - 0.11
        ends = float(bar.bar_x) + float(bar.bar_width)
    assert ends <= 1000.2
    assert not found or ends >= 999


def test_many_lines_are_counted_and_not_shown() -> None:
    steps = [{"created_by": f"ENV A={n}", "empty_layer": True} for n in range(700)]
    found = image.layers(image.read(manifest([1]), IMAGE, config(*steps)), {})
    assert len(found.rows) == 500
    assert found.left_out == 201


# -- trouble


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff\xfe", b"{" * 9_000, b'{"layers": 5}'])
def test_bytes_that_are_no_manifest_become_a_notice(data: bytes) -> None:
    read = image.read(data, IMAGE, None)
    assert read.trouble
    assert image.layers(read, {}).rows == ()
    assert image.labels(read, {}).rows == ()


def test_a_config_that_is_no_json_becomes_a_notice() -> None:
    read = image.read(manifest([1]), IMAGE, b"not json")
    assert read.config is None
    assert "cannot be read" in read.trouble[0].words
    assert len(image.layers(read, {}).rows) == 1


@pytest.mark.parametrize("problem", ["dangling", "unreadable", "incomplete"])
def test_each_problem_says_what_to_do(problem: str) -> None:
    notice = image.problem_notice(problem)
    assert notice is not None
    assert "Push" in notice.advice


def test_no_problem_is_no_notice() -> None:
    assert image.problem_notice("") is None


# -- platforms


def test_attestations_are_no_platform() -> None:
    found = image.choices(
        [
            entry("linux/arm64", DIGESTS[0]),
            entry("unknown/unknown", DIGESTS[1]),
            entry("linux/amd64", DIGESTS[2]),
            entry(
                "linux/amd64",
                DIGESTS[3],
                **{"vnd.docker.reference.type": "attestation-manifest"},
            ),
        ]
    )
    assert [one.key for one in found] == ["linux/arm64", "linux/amd64"]
    chosen = image.choose(found, "")
    assert chosen is not None
    assert chosen.key == "linux/amd64"


def test_two_entries_of_one_platform_are_told_apart_by_digest() -> None:
    found = image.choices([entry("windows/amd64", DIGESTS[0]), entry("windows/amd64", DIGESTS[1])])
    assert [one.key for one in found] == ["windows/amd64", DIGESTS[1]]
    assert found[1].label == "windows/amd64 111111111111"


def test_a_platform_that_is_not_there_falls_back_and_says_so() -> None:
    found = image.choices([entry("linux/arm64", DIGESTS[0])])
    chosen = image.choose(found, "linux/s390x")
    assert chosen == found[0]
    notices = image.platform_notice("linux/s390x", chosen, 0)
    assert "linux/s390x" in notices[0].words


def test_an_empty_image_index_has_nothing_to_choose() -> None:
    assert image.choose([], "linux/amd64") is None


# -- commands


def commands(**fields: str) -> list[str]:
    given = {"tag": "1.0", "digest": DIGESTS[1], "kind": "image", **fields}
    return [one.command for one in image.pulls("reg:8443", "team/api", **given)]


def test_an_image_is_pulled_by_four_clients_and_by_digest() -> None:
    assert commands() == [
        "docker pull reg:8443/team/api:1.0",
        "podman pull reg:8443/team/api:1.0",
        "ctr image pull reg:8443/team/api:1.0",
        "image: reg:8443/team/api:1.0",
        f"docker pull reg:8443/team/api@{DIGESTS[1]}",
    ]


def test_a_chosen_platform_is_in_the_command() -> None:
    found = commands(platform="linux/arm64", image=DIGESTS[2])
    assert found[0] == "docker pull --platform linux/arm64 reg:8443/team/api:1.0"
    assert found[-1] == f"docker pull reg:8443/team/api@{DIGESTS[2]}"


def test_a_platform_with_shell_characters_never_reaches_a_command() -> None:
    found = commands(platform="linux/amd64;rm -rf /", image=DIGESTS[2])
    assert not any("rm" in one.split()[-2] or ";" in one for one in found)
    assert found[0] == f"docker pull reg:8443/team/api@{DIGESTS[2]}"


def test_charts_artifacts_and_caches_have_commands_of_their_own() -> None:
    assert commands(kind="artifact", words="Helm chart", tag="1.0_b1")[0] == (
        "helm pull oci://reg:8443/team/api --version 1.0+b1"
    )
    assert commands(kind="artifact")[0] == "oras pull reg:8443/team/api:1.0"
    assert "cache-from" in commands(kind="cache")[0]


# -- config, labels, raw


def test_config_facts_keep_arguments_apart_and_cut_long_lists() -> None:
    found = {
        fact.name: fact
        for fact in image.config_facts(
            parse_config(config(Cmd=["sh", "-c", "a b"], Env=[f"A{n}=1" for n in range(600)]))
        )
    }
    assert [str(one) for one in found["CMD"].values] == ['["sh", "-c", "a b"]']
    assert found["ENTRYPOINT"].values == ()
    assert len(found["ENV"].values) == 500
    assert found["ENV"].left_out == 100


def test_labels_say_where_they_are_written() -> None:
    read = image.read(manifest([], annotations={"b": "2"}), IMAGE, config(Labels={"a": "1"}))
    found = image.labels(read, {"c": "3"})
    assert [(str(one.name), str(one.value), one.origin) for one in found.rows] == [
        ("a", "1", "Label"),
        ("b", "2", "Annotation of the manifest"),
        ("c", "3", "Annotation of the image index"),
    ]


@pytest.mark.parametrize("data", [b'{"a": 1}', b"\xff\x00", b"[" * 20_000, b'"\\ud800"', b""])
def test_raw_shows_any_bytes(data: bytes) -> None:
    found = image.raw([image.Part("manifest", "Manifest", DIGESTS[0], data)], "nothing")
    found.text.text.encode()
    assert found.is_json == (data in (b'{"a": 1}', b'"\\ud800"'))


def test_raw_is_cut() -> None:
    data = json.dumps(["x" * 300_000]).encode()
    assert image.raw([image.Part("manifest", "Manifest", "", data)], "").text.is_cut


# -- referrers, dates, charts


def test_referrers_have_words() -> None:
    def words(**fields: str) -> tuple[str, bool]:
        given = {"artifact_type": "", "tag": "", **fields}
        one = image.referrer(digest=DIGESTS[0], size=1, at=None, **given)
        return one.words, one.is_signature

    hexes = "sha256-" + "0" * 64
    assert words(tag=f"{hexes}.sig") == ("Signature", True)
    assert words(tag=f"{hexes}.att") == ("Attestation", False)
    assert words(artifact_type="application/spdx+json") == ("SPDX bill of materials", False)
    assert words(artifact_type="application/vnd.cncf.notary.signature") == (
        "Notary signature",
        True,
    )
    assert words() == ("Artifact", False)


def test_dates_of_repeatable_builds_are_not_believed() -> None:
    assert image.believable(datetime(1970, 1, 1, tzinfo=UTC)) is None
    assert image.believable(datetime(9999, 12, 31, 23, tzinfo=UTC)) is None
    assert image.believable(datetime(2026, 1, 1, tzinfo=UTC)) is not None


def test_a_chart_starts_at_zero_and_has_every_day() -> None:
    chart = bar_chart.daily_chart(
        {date(2026, 11, 23): 7, date(2026, 11, 1): 99}, today=date(2026, 11, 23), days=14
    )
    assert (len(chart.bars), chart.total, chart.most) == (14, 7, 7)
    assert [rule.label for rule in chart.rules] == ["4", "8"]
    assert bar_chart.daily_chart({}, today=date(2026, 11, 23), days=14).total == 0
