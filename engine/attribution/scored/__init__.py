"""Methods that weigh the channels or the cells of a layer by what a model answers without the rest."""
