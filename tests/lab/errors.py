"""What can go wrong with a lab, said in one sentence."""


class LabError(Exception):
    """The lab cannot be built, started or found; the message says why and what to do."""
