"""One HTTP exchange with one server: bytes out; status, headers and bytes back. Nothing is tried twice here.

One session and one shared set of headers serve all requests; connections are kept open and are as many as requests in
flight. Bodies are bytes that were encoded once, replies are read whole.
"""

from __future__ import annotations

import asyncio
import io
import os
import ssl
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from raif import __version__
from raif.errors import ModelError
from raif.models.openai.address import Address
from raif.models.openai.errors import one_line, scrub

_LARGE = 1 << 20  # above this aiohttp warns of bytes; a file is sent in pieces, and lets others in between
_CONNECT = 20.0  # seconds for a connection alone: a host that swallows packets is no slow answer


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back, whatever its status."""

    status: int
    headers: Mapping[str, str]
    """Their names in whatever case."""
    data: bytes


class LostError(Exception):
    """No whole reply came back. ``absent`` says that not even a connection, or no word on it, was to be had."""

    def __init__(self, why: str, *, absent: bool = False) -> None:
        super().__init__(why)
        self.absent = absent


class Transport:
    """Connections to one server. It belongs to the event loop that it was made in.

    Args:
        address: where, and with which key.
        connections: requests in flight at most.
    """

    def __init__(self, address: Address, connections: int) -> None:
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "identity",  # replies are short: packing them costs more than it saves
            "User-Agent": f"raif/{__version__}",
        }
        if address.key is not None:
            headers["Authorization"] = f"Bearer {address.key}"
        self.address = address
        self.loop = asyncio.get_running_loop()
        self._chat = URL(f"{address.base}/chat/completions", encoded=True)
        self._models = URL(f"{address.base}/models", encoded=True)
        self._session = aiohttp.ClientSession(
            headers=headers,
            connector=aiohttp.TCPConnector(limit=connections, ttl_dns_cache=300),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=True,
            proxy=_proxy(address),
        )

    async def post(self, body: bytes, seconds: float) -> Reply:
        """Ask for a chat completion.

        Raises:
            LostError: no whole reply within ``seconds``.
            ModelError: the server's certificate is not to be trusted.
        """
        return await self._exchange("POST", self._chat, body, seconds)

    async def models(self, seconds: float) -> Reply:
        """Ask which models are served. Raises as ``post``."""
        return await self._exchange("GET", self._models, None, seconds)

    async def _exchange(self, method: str, url: URL, body: bytes | None, seconds: float) -> Reply:
        data = io.BytesIO(body) if body is not None and len(body) >= _LARGE else body
        timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=min(seconds, _CONNECT))
        try:
            async with self._session.request(
                method, url, data=data, timeout=timeout, allow_redirects=False
            ) as response:
                return Reply(response.status, response.headers, await response.read())
        except aiohttp.ClientConnectorCertificateError as error:
            reason = one_line(str(error.certificate_error))
            raise ModelError(f"the certificate of {self.address.place} is not to be trusted ({reason})") from None
        except aiohttp.ClientConnectorError as error:
            raise LostError(self._told(error.os_error), absent=True) from None
        except aiohttp.ConnectionTimeoutError:
            raise LostError("no connection within a while", absent=True) from None
        except TimeoutError:
            raise LostError(f"no reply within {seconds:.3g} s") from None
        except aiohttp.ServerDisconnectedError:
            raise LostError("the server hung up", absent=True) from None
        except aiohttp.ClientPayloadError:
            raise LostError("the reply was cut off") from None
        except (aiohttp.ClientError, ssl.SSLError, OSError, ValueError) as error:
            absent = isinstance(error, aiohttp.ClientConnectionError | OSError)
            raise LostError(self._told(error), absent=absent) from None

    def _told(self, error: BaseException) -> str:
        """An error in one line, without secrets. Type and reason alone: aiohttp's own texts quote headers."""
        reason = type(error).__name__
        if isinstance(error, OSError):  # asyncio writes texts of its own over those of connect()
            number = error.errno or 0
            reason = os.strerror(number) if number > 0 else error.strerror or reason
        return one_line(scrub(str(reason), self.address.key)).lower()

    async def close(self) -> None:
        """Close all connections. Calling it twice is fine."""
        await self._session.close()


def _proxy(address: Address) -> str | None:
    """The proxy that the environment (``HTTPS_PROXY``, ``NO_PROXY`` …) names for this server."""
    parts = urlsplit(address.base)
    if address.local or urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    return urllib.request.getproxies().get(parts.scheme)
