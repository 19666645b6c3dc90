"""How do two processes talk?"""
