"""The list of people is an attribute of the class, by mistake or by habit: all rooms of the class share it."""

from plain import Plain


class Shared(Plain):
    people = {}

    def __init__(self):
        pass
