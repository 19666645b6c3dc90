"""How does one process stay alive, stop and print?"""
