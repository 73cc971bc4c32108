"""What a reader sees in Jupyter: the chat panel, the dashboard, source listings. Only these files need ipywidgets."""
