"""Shared by tests: references, cases, hostile data, emulated devices, drivers in C++."""
