"""Generic Textual widgets: they import only textual and rich, and know nothing of poolers."""
