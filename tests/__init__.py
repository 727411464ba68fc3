"""The tests, in folders that mirror the product; what they share is in `tests.support`."""
