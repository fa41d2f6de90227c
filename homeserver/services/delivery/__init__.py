"""How far messages have come: to devices, here and at other Comity instances."""
