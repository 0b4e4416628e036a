"""Measurements on people that no network was trained on."""
