print("kdn")
