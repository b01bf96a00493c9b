"""Trainers: from records to weights. Knows nothing of judges, models behind the protocol, or the command line.

    data.py      records → examples to train on, and why the others were left out (pure)
    tokens.py    examples → token ids through the chat template; the pad token; nothing is ever cut
    backbone.py  opening a base model: what can be refused is refused before its weights are read
    precision.py device and number formats
    folder.py    OUT: fingerprint, checkpoints, step log, what counts as finished
    engine.py    one training run: arguments, callbacks, resume, merge, save
    steps.py     each optimiser step: check, log, report
    quiet.py     keeps the libraries' own messages off the terminal
    results.py   TrainResult, train.json, Wilson's interval
    sft.py  reward.py  dpo.py      the trainers, each a few lines over the engine
    scoring.py   using a reward model afterwards

A trainer is a ``Recipe`` (``engine.py``): which rows, which TRL trainer, what to measure at the end. A loss of our own
is a subclass of the recipe's trainer; a trainer of our own brings its loop and keeps folder, backbone and results.
torch, transformers and trl are imported inside functions: ``import raif.train.sft`` is cheap.
"""
