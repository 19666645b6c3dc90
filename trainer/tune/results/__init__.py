"""How are the progress and the results of a sweep shown?"""
