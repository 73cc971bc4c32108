import sys

sys.modules.setdefault("rfc3987_syntax", None)  # nbformat would have it build a grammar, for seconds, and never use it
