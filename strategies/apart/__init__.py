"""How do logical replicas train apart, wherever they are carried?"""
