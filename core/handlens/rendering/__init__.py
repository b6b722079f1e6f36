"""Output formats of a report, one module each (see ``formats``). They know its data, and no front end."""
