"""Which tasks are there, and which am I?"""
