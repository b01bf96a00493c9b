"""raif: shape a language model with written principles.

The map, in reading order; dependencies point upwards only:

    errors, records         what can go wrong, and what crosses from stage to stage
    constitution, prompts   the principles, and the wording of every question
    config, settings        raif.yaml and what is laid over it
    store, cache, manifest  files that survive a kill, answers never paid for twice, and what a run was made of
    inputs                  prompts and pairs from the outside world
    models/                 chat models behind one protocol
    feedback/               generate, critique and revise, pair, label: what a judge is asked and how it is read
    train/                  SFT, reward model, DPO; never imports feedback
    evaluate/               policies side by side
    qualify/                whether a judge may be trusted to label
    report/                 artefacts → one HTML file
    pipeline                the table of stages: name, reads, writes, function
    estimate                the same stages rehearsed: what a command would ask, cost and take
    demo/                   a small world with a known truth, and the small models that live in it
    cli/                    one thin Click file a command group
"""

from raif._version import __version__

__all__ = ["__version__"]
