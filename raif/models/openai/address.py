"""Where a server is, and the key that opens it. The key stays in memory: no repr, message or artefact shows it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from raif.config import ServerConfig
from raif.errors import ConfigError, ModelSpecError


@dataclass(frozen=True, slots=True)
class Address:
    """A server. ``place`` (host, port, path) is what identities and messages show."""

    base: str
    place: str
    key_from: str
    """Where the key comes from, for messages."""
    key: str | None = field(default=None, repr=False)

    @property
    def local(self) -> bool:
        """Whether it runs on this machine: no proxy leads there."""
        return (urlsplit(self.base).hostname or "") in ("localhost", "127.0.0.1", "::1")


def open_address(base_url: str, config: ServerConfig) -> Address:
    """The server at ``base_url``, with the key that the configuration points at.

    Raises:
        ModelSpecError: no address of a server, or one that carries credentials.
        ConfigError: the key's file can't be read, or holds no key.
    """
    try:
        parts = urlsplit(base_url)
        port_is_number = parts.port is None or parts.port >= 0
    except ValueError:
        port_is_number = False
    if not port_is_number or not parts.hostname:
        raise ModelSpecError("the server's address is not one: write openai:MODEL@http://HOST:PORT/v1")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ModelSpecError(
            f"leave name, password and query out of the server's address ({parts.hostname}); raif reads the key from "
            "the environment variable server.key_env, or the file server.key_file"
        )
    path = parts.path.rstrip("/").removesuffix("/chat/completions")
    place = parts.netloc.lower() + path
    key, key_from = _key(config)
    return Address(f"{parts.scheme}://{place}", place, key_from, key)


def _key(config: ServerConfig) -> tuple[str | None, str]:
    """The key, None where there is none, and where it comes from."""
    path = config.key_file
    if path is None:
        key, source = os.environ.get(config.key_env, "").strip() or None, f"the environment variable {config.key_env}"
    else:
        source = f"the file {path}"
        try:
            key = path.expanduser().read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise ConfigError(f"server.key_file can't be read: {reason}", path=path) from None
        if not key:
            raise ConfigError("server.key_file is empty; it should hold the key and nothing else", path=path)
    if key is not None and not (key.isascii() and key.isprintable() and " " not in key):
        raise ConfigError(f"{source} should hold a key and nothing else: one word of ASCII characters")
    return key, source
