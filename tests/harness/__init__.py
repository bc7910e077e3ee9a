"""What the end to end tests share: a broker as a process, MQTT by hand-made bytes, waiting with a deadline."""
