"""Pages and actions of the shell, by what they are about."""
