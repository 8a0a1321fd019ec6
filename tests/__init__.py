"""The tests of nearfar."""
