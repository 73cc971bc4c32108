"""What pages of the book ask Python for, where it runs in the reader's browser: cells, and a room to try.

Nothing here needs a browser: the answers are plain values, and the same everywhere.
"""
