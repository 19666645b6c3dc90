"""Old names of `trainer.recipe`, for recipes that were written for version 0.1."""
