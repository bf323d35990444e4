"""Pure array functions; observations in rows."""
