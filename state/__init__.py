"""Azure Table storage: what is remembered between ticks, and the record of every tick."""
