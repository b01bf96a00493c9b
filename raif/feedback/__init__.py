"""What models are asked about a constitution, and how their answers are read. Pure over chunks of records; no torch.

generate    prompts → responses
revise      responses → critiques and revisions
pairs       responses and revisions → comparisons
label       comparisons → judgements → preferences
modes       how a judge is asked: probabilities, reasoning, votes, grades
reading     how the answer to one question is read
verdict     what words say, and what many judgements add up to
calibrate   correcting probabilities by what humans said
rank        preferences → the responses to a prompt in their order
examples    the worked examples that a constitution shows
draws       everything that is drawn, seeded by the record it is drawn for
"""
