"""How good maps are: against the truth, against the model, and against a model that knows nothing."""
