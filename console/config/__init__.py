"""Inventory, settings, credentials and where files live. It opens no network connection."""
