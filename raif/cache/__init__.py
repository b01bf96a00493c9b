"""The completion cache.

store    replies by the digest of all that determines them, in one SQLite file
upkeep   what the file holds, and how it is kept small: behind ``raif cache``
"""

from raif.cache.store import CompletionCache, cache_key, cache_path

__all__ = ["CompletionCache", "cache_key", "cache_path"]
