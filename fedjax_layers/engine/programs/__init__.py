"""Compiled programs, kept by the value of what is compiled; how long compiling took."""
