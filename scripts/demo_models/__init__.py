"""How the two demo models are made: their tokenizer, their training questions, packing, training and evaluation."""
