"""The commands of the trust page."""

import html
import re

from tests.support.machines import Machine
from tests.support.product import Product

STEP = re.compile(r'<li id="step-(\w+)">.*?<code>(.*?)</code>', re.DOTALL)


def steps(boathouse: Product, machine: str) -> dict[str, str]:
    """The commands that the page shows for that kind of machine, by the step's name."""
    answer = boathouse.ask(f"/trust?machine={machine}")
    assert answer.status == 200
    return {name: html.unescape(text) for name, text in STEP.findall(answer.body.decode())}


def follow(machine: Machine, boathouse: Product, kind: str) -> str:
    """Does what the page says up to the installation, in one shell; returns what it printed."""
    shown = steps(boathouse, kind)
    lines = [shown[name] for name in ("fetch", "compare", "install")]
    return machine.run("\n".join([f"cd {machine.folder}/home", *lines])).stdout
