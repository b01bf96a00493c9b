"""The stages: each reads records, asks models or trainers, writes records, and knows nothing of the stage after it.

A stage takes a ``Session``, its input and the path of its output; where these come from (a run folder or flags) is the
business of ``raif.pipeline`` and of the command line. It returns an ``Outcome``: a summary, and a line that says it.
"""
