"""How does a run avoid compiling the same program again?"""
