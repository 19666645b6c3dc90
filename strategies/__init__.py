"""How do the processes of a cluster find each other, communicate and train together?"""
