"""Prompts and pairs of responses from the files that people have.

sources.py   rows from JSONL, JSON, CSV, Parquet (text ones also gzipped), a ``datasets`` folder or id
turns.py     conversations from message lists and HH-RLHF transcripts
collect.py   bad rows, duplicates and limits: what every reader does with the rows
prompts.py   rows → ``Prompt``
pairs.py     rows → ``Comparison`` (to be judged) or ``TrainingPair`` (to be trained on)
"""

from raif.inputs.pairs import read_pairs, read_training_pairs, with_neutral_sides
from raif.inputs.prompts import read_prompts
from raif.inputs.sources import source_name

__all__ = ["read_pairs", "read_prompts", "read_training_pairs", "source_name", "with_neutral_sides"]
