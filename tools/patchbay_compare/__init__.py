"""What make_reference.py and compare_transformerlens.py share."""
