def unshown():
    return []
