"""The one error of this package."""


class CacheError(Exception):
    """A cache that is absent, damaged, newer than this reader, or beyond the format's limits.

    The message names the file and, where there is one, the prompt and the hook.
    """
