"""A run folder as one HTML file that a person reads and passes on.

artefacts   what lies in a run folder, read as far as it goes
findings    the short answers: safer? still helpful? a judge to be trusted? at what cost?
evidence  judging  making  origin     the sections, each a headline and blocks
blocks      what a section is made of
text        figures with their uncertainty, foreign text with nothing hidden in it
plots       drawings as SVG
page        the sections through ``templates/`` into HTML
"""

from raif.report.page import build_report

__all__ = ["build_report"]
