"""The kill switch: three records (database, bus, local file), how they are written, mirrored and read."""
