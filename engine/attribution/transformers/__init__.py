"""Methods for transformers: what their own attention says."""
