"""How does a whole cluster run on this machine?"""
