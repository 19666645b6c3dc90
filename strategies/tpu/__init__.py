"""How does a TPU train?"""
