"""Figures as SVG, where matplotlib cannot be had, as in a browser.

Axes here have those methods of matplotlib's that our figures use, under the same names and with the same meanings;
what they do not know raises TypeError or AttributeError. axes.py takes what is to be drawn, marks.py has the things
drawn, scale.py says where on the paper a value lies, and figure.py lays all out and writes the SVG.
"""

from chatroom_lib.plots.svg.axes import Axes
from chatroom_lib.plots.svg.figure import Figure, subplots, unshown

__all__ = ["Axes", "Figure", "subplots", "unshown"]
