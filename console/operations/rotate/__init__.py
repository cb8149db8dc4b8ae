"""`pooldeck rotate`: another password for a role, everywhere it is known, or nowhere."""
