"""How are better values found?"""
