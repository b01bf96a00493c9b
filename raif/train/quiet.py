"""Keeps the libraries' own bars and messages off the terminal: raif reports progress, once, through ``on_progress``."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

LOGGERS = ("transformers", "trl", "accelerate", "peft", "datasets", "torch.distributed")
LIBRARIES = r"(transformers|trl|accelerate|peft|datasets)\b"


@contextmanager
def quiet() -> Iterator[None]:
    """While the block runs, libraries show errors alone and no progress bars; after it all is as it was.

    Of warnings, only those are kept back by which these libraries tell each other what they will rename or have put
    right: nobody who trains a model can do anything about them.
    """
    import datasets
    from transformers.utils import logging as hf_logging

    levels = {name: logging.getLogger(name).level for name in LOGGERS}
    bars = datasets.are_progress_bars_disabled(), hf_logging.is_progress_bar_enabled()
    tqdm = os.environ.get("TQDM_DISABLE")
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    hf_logging.disable_progress_bar()
    os.environ["TQDM_DISABLE"] = "1"
    try:
        with warnings.catch_warnings():
            for category in (FutureWarning, DeprecationWarning):
                warnings.filterwarnings("ignore", category=category, module=LIBRARIES)
            warnings.filterwarnings(
                "ignore", message="fan_in_fan_out is set to", category=UserWarning
            )  # GPT-2 and PEFT
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        if not bars[0]:
            datasets.enable_progress_bars()
        if bars[1]:
            hf_logging.enable_progress_bar()
        if tqdm is None:
            del os.environ["TQDM_DISABLE"]
        else:
            os.environ["TQDM_DISABLE"] = tqdm


class Silent:
    """Mixed into TRL's trainers: no model card in the checkpoints, no word to anyone about what is trained."""

    def create_model_card(self, *_: Any, **__: Any) -> None:
        pass

    def _send_telemetry(self) -> None:
        pass
