"""What a service says when a rule forbids what was asked."""


class Refused(Exception):
    """The reason and the way out, one sentence for the person who asked, in the active language."""
