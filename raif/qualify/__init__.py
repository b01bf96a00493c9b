"""Whether a judge may be trusted to label: what it is asked, what that shows, and the certificate that it leaves.

gold         pairs of which somebody has said which is better
canaries     the injection battery
asking       asks a judge as ``raif label`` does
section      all that is asked under one principle, or under a whole constitution, and what was answered
card         sections → figures with intervals, against thresholds
certificate  the file that ``raif judge check`` leaves and ``raif label`` reads: sections, for one judge and one wording
check        gold and certificate → the sections that are missing are made
"""
