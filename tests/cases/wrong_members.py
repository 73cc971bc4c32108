"""`members()` is not what it should be: what is said must name it."""

from plain import Plain


class Asynchronous(Plain):
    async def members(self):
        return list(self.people)


class AList(Plain):
    def __init__(self):
        super().__init__()
        self.members = list(self.people)


class Nothing(Plain):
    def members(self):
        pass


class Names(Plain):
    def members(self):
        return [str(one.id) for one in self.people]
