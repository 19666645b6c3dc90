"""How is a run drawn as a page that needs nothing else?"""
