"""Old names of what `trainer.recipe` gives, for recipes written for version 0.1."""
