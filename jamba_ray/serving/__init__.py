"""Serves exported models over HTTP; its processes load neither torch, Ray nor pandas."""
