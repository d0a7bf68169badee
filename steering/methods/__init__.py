"""Steering methods and operators, one file each, found by discovery."""
