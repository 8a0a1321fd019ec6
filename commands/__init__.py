"""The commands behind the door: each function parses, calls one function of a room, and prints."""
