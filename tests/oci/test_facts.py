"""What an image states, as numbers that a search asks for."""

import json

from hypothesis import given
from hypothesis import strategies as st

from registryui.oci import facts
from registryui.oci.config import parse_config


def _facts(**config: object) -> frozenset[int]:
    return facts.facts(parse_config(json.dumps({"config": config}).encode()))


def test_a_label_is_found_by_its_key_and_by_its_value_in_any_case() -> None:
    found = _facts(Labels={"team": "Shop", "a": "b=c"})
    assert {facts.label("team"), facts.label("TEAM", "shop"), facts.label("a", "b=c")} <= found
    assert facts.label("team", "sho") not in found
    assert facts.env("team") not in found


def test_a_variable_without_a_value_is_found_by_its_name() -> None:
    assert _facts(Env=["DEBUG", "LANG=C.UTF-8", "EMPTY="]) == {
        facts.env("DEBUG"),
        facts.env("LANG"),
        facts.env("LANG", "C.UTF-8"),
        facts.env("EMPTY"),
        facts.env("EMPTY", ""),
    }


def test_a_command_is_found_by_its_words_and_by_the_name_of_its_program() -> None:
    found = _facts(Entrypoint=["/usr/sbin/nginx", "-g", "daemon off;"], Cmd=["sh", "-c", ""])
    for word in ("/usr/sbin/nginx", "nginx", "-g", "daemon off;", "daemon", "off;", "sh", "-c"):
        assert facts.command(word) in found, word
    assert facts.command("") not in found


def test_the_layers_are_one_fact_in_their_order() -> None:
    config = parse_config(json.dumps({"rootfs": {"diff_ids": ["sha256:a", "sha256:b"]}}).encode())
    assert facts.facts(config) == {facts.layers(["sha256:a", "sha256:b"])}
    assert facts.layers(["sha256:b", "sha256:a"]) not in facts.facts(config)


def test_the_layers_below_are_the_facts_of_the_images_below() -> None:
    stack = ["sha256:A", "sha256:b", "sha256:c"]
    assert facts.layers_below(stack) == [facts.layers(stack[:1]), facts.layers(stack[:2])]
    assert facts.layers_below(stack[:1]) == facts.layers_below([]) == []
    assert len(facts.layers_below(["x" * 65_536] * 10_000)) == 200


def test_one_config_states_only_so_much() -> None:
    labels = {f"label{number}": "x" for number in range(5000)}
    assert len(_facts(Labels=labels)) == facts.LIMIT


@given(st.text(), st.text())
def test_any_text_is_a_number_of_64_bits(key: str, value: str) -> None:
    for fact in (facts.label(key, value), facts.env(key), facts.command(key)):
        assert -(2**63) <= fact < 2**63
