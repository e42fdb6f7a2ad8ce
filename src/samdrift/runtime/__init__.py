"""Where neighbours are introduced: the rooms are started from the ground up, and values are handed from one to the other.

It decides nothing about requests. It knows every room below; nobody but the commands knows it.
"""
