"""Where do recipes for version 0.1 find the dimensions of a space?

Here, under their old names. Newer recipes import `trainer.recipe`.
"""

from trainer.recipe import Dimension, between, choice

__all__ = ["Dimension", "between", "choice"]
