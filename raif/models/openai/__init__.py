"""The ``openai:`` backend, in reading order:

address               where a server is, and its key
dialect, wire         how requests are written and replies read
errors                what a refusal means
exchanges, calls      one request, and how far it got
pace                  how many at once
transport, pool       one exchange over HTTP, and many of them with all that goes wrong
probe                 what a server can do
model                 all of it as a chat model
"""

from raif.models.openai.model import OpenAIModel

__all__ = ["OpenAIModel"]
