"""What a service says when a rule, or this machine, forbids what was asked. Needs no Django."""


class Refused(Exception):
    """The reason and the way out, one sentence for the person who asked, in the active language."""
