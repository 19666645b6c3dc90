"""Which example is in which step, and whose is it?"""
