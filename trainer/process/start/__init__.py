"""How does a process start others, quickly and under its control?"""
