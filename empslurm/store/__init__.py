"""The runs root: every path in it, every read and every write. What is read is checked; nothing is computed here."""
