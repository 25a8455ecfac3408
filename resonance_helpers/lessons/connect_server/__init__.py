"""Lesson 02: the way to a rented server, by SSH, key and tunnel."""

from ...core.lazy import lazy_names

_HOMES = {
    "charts": ("tunnel_svg",),
    "logic": (
        "MAX_PORT",
        "Place",
        "SSH_PORT",
        "Server",
        "LoginStep",
        "Way",
        "autodl_address",
        "check_port",
        "jupyter_command",
        "parse_ssh",
        "ssh_command",
        "tunnel_command",
        "ways_to_connect",
        "ways_to_reach",
        "ways_to_use_a_key",
        "where_am_i",
    ),
    "view": ("check_connection", "show_place", "show_ways"),
}
__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
