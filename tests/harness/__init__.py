"""What tests share: real servers, faults on the way to them, and an isolated environment."""
