"""`trainer.recipe` under its old name, for recipes written for version 0.1."""

from trainer.recipe import Dimension, between, choice

__all__ = ["Dimension", "between", "choice"]
