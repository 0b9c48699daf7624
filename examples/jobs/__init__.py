"""Durable jobs next to a spica application."""
