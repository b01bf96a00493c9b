"""What models are asked about a constitution, and how their answers are read. Pure over chunks of records; no torch.

generate    prompts → responses
revise      responses → critiques and revisions
pairs       responses and revisions → comparisons
label       comparisons → judgements → preferences
verdict     how one answer is read, and what many add up to
draws       everything that is drawn, seeded by the record it is drawn for
"""
