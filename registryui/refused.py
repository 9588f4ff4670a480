"""The exception of services for actions that are not allowed or not possible. Needs no Django."""


class Refused(Exception):
    """The reason and what to do, one sentence for the operator, in the active language."""
