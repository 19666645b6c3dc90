"""How is one trial run?"""
