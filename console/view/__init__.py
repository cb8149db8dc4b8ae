"""Pure functions from a snapshot to rows, columns and text. No IO, no widgets."""
