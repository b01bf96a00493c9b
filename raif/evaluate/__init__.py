"""What the records of a run add up to. All pure: nothing here asks a model or writes a file.

statistics    shares with intervals that know which comparisons share a prompt; agreement beyond chance
calibration   whether the judge's probabilities mean what they say
recalibration fitting a correction of them to human labels, and what it gains
missingness   whether comparisons without a label differ from the rest
summary       responses, revisions and labels: counts, coverage, bias, agreement with humans
winrate       policies against a baseline, overall and by principle
"""
