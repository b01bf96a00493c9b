"""vLLM's engine, started by this process and fed without pause.

start   finding vLLM, telling its engine what it must be told, and why it would not start
pump    the one thread that talks to the engine
model   the chat model that the rest of raif knows
"""

from raif.models.vllm.model import VllmModel

__all__ = ["VllmModel"]
