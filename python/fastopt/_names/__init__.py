"""What other frameworks call the arguments of fastopt: one table for the errors and for docs/names.md.

Errors import this room when they are built, so that nothing else pays for it.
"""
