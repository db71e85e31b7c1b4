"""What can be wrong with a cache."""


class CacheError(Exception):
    """A file of a cache is missing, damaged, or of a format that this reader does not know."""


def require(condition: bool, message: str) -> None:
    """Refuses a cache."""
    if not condition:
        raise CacheError(message)
