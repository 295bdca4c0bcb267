"""What can go wrong before a call is made."""


class ConfigurationError(ValueError):
    """A setting is missing or wrong: which one, where it was looked for, and what to do. The text shows no secret."""
