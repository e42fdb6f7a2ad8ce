"""The nouns: what a community is, read from one document, checked and compared.

Everything here is a value. This room opens no file, asks no clock and knows no other room; every other
room may know it.
"""
