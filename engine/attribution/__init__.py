"""Attribution methods: from an answer back to what it was made of."""
