"""A small world with a known truth, the models that live in it, and `raif demo`, which checks the loop against it."""
