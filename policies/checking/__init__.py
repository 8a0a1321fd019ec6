"""Looking at a policy: trying it out in made-up situations, and saying why it chooses what it chooses."""
