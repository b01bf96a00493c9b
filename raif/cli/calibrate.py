"""``raif judge calibrate``: how a judge's probabilities are to be corrected, by what humans said."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import click

from raif.cli.options import Invocation, configured, redo_option
from raif.cli.place import output_place
from raif.errors import ConfigError


@click.command()
@click.option(
    "--gold", required=True, metavar="FILE|ID", help="Pairs of responses with the one that a human preferred."
)
@click.option("--isotonic", is_flag=True, help="Fit a rising curve, not one temperature; for hundreds of labels.")
@configured(
    "judge",
    "policy",
    "constitution",
    "orders",
    "principles",
    "mode",
    "votes",
    "scale",
    "examples",
    "allow_tie",
    "chosen_column",
    "rejected_column",
    "prompt_column",
    "limit",
    "seed",
    "split",
    "on_bad_row",
    "device",
    "dtype",
    "batch_size",
)
@redo_option
def calibrate(invocation: Invocation, gold: str, isotonic: bool, redo: bool) -> None:
    """Fit a judge's probabilities to human labels, and write the correction to --out.

    A temperature on the log-odds is fitted to the pairs that both the judge and a human have labelled, or, with
    --isotonic, a rising curve. Log-loss, Brier score and calibration error are printed before and after, held out by
    whole prompts, with intervals. `raif label --calibration FILE` applies it, to the same judge asked in the same way.

    \b
    --json prints: out, method, temperature, knots, pairs, judged, abstained, helps, before, after, log_loss, brier, ece
    \b
    Example:
      raif judge calibrate --gold pairs.jsonl --judge demo:judge --out calibration.json
      raif label --pairs more.jsonl --judge demo:judge --calibration calibration.json --out labels.jsonl
    """
    from raif.inputs import read_pairs
    from raif.manifest import SIDE_MANIFEST
    from raif.pipeline import describe_input
    from raif.stages.calibration import calibrate as stage
    from raif.stages.calibration import labels_beside

    out = invocation.out
    if out is None:
        raise ConfigError("nowhere to write to; give --out FILE, such as --out calibration.json")
    # The probabilities as they are: a correction of a correction would be for nobody.
    label = invocation.config.label.model_copy(update={"calibration": None})
    config = invocation.config.model_copy(update={"label": label})
    ours = out.with_name(out.name + SIDE_MANIFEST).is_file()
    with output_place(replace(invocation, config=config), out, redo=redo) as session:
        if redo and ours:
            labels_beside(out).unlink(missing_ok=True)
        pairs = read_pairs(gold, config.input, limit=config.limit, seed=config.seed, on_note=session.note)
        describe_input(session, gold, len(pairs))
        outcome = asyncio.run(stage(session, pairs, session.manifest.inputs[gold].sha256, out, isotonic=isotonic))
    invocation.result(outcome.summary, outcome.line)
