"""What tests share: references, cases, hostile data, devices that are played, drivers in C++."""
