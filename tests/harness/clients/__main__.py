"""`python -m tests.harness.clients`."""

from tests.harness.clients.process import start

start()
