"""The live side: the routing daemon comes to live in this package; nothing here runs yet."""
