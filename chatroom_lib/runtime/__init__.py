"""Where things run: the background thread, interrupts, progress bars, the notebook, the console."""
