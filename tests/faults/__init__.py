"""`make faults`: processes killed, a disk filled, a network cut; and every alert held against a run without that."""
