"""Instructions, counted: what a busy machine cannot disturb."""
