"""How do workers add their vectors?"""
