"""How photos go into a model and what its classes are called, in the words of those who write models.

A file for each producer. `facts` are fields of a Preprocess, as many as it says; `labels` the names of the
classes in their order. None is for what it does not say; both raise ValueError, with the reason, for what
cannot be used.
"""
