"""Small applications that tests and benches drive: one widget each, with made-up data."""
