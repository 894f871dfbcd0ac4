"""Attribution methods on photos."""
